"""`sos attempts RUN`: what a model makes of second attempts, by who decides how they begin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sos.commands.output import check_out, held
from sos.commands.words import check_once, option, places
from sos.errors import UserError
from sos.schema.improve_words import DECIDING

if TYPE_CHECKING:
    from sos.improve.attempts_chains import Chain, Writer

RESULT, FIGURE, STORIES = FILES = "attempts.json", "attempts.png", "stories.html"
MOST_SHOWN = 40  # attempts on a page


@dataclass
class Options:
    """A model attempts problems again and again until an attempt is accepted or the tokens of the problem are spent.
    After each failure a policy decides: refine goes on from the last sound place, pivot begins with another action,
    restart begins anew as it is (best of N), random draws refine or pivot, random_cut goes on from any place, rule goes
    by the diagnosis, and oracle runs refine and pivot and is charged for the better one. All share the first attempts.
    The folder gets attempts.json, attempts.png and stories.html, the attempts of some problems step by step; of several
    runs, one table and figure of all."""

    run: list[str] = places("RUN", "run folders or checkpoints")
    problems: int = option(300, "how many of each split", low=1)
    splits: list[str] = option(
        ["val", "val_target"], "whose problems; val_target is left out where nothing is held out"
    )
    policies: list[str] = option(list(DECIDING), "who decides, some of the default")
    budgets: list[float] = option([1.0, 2.0, 4.0, 8.0], "tokens of a problem, times the mean first attempt", low=0.1)
    temperature: float = option(1.0, "of all attempts; 0 takes the most likely token", low=0.0)
    samples: int = option(1, "chains of attempts at each problem", low=1)
    judge_flips: float = option(0.0, "how often the judge's verdict on an attempt is flipped", low=0.0)
    whole_action: bool = option(
        False, "a pivot dictates its whole action, its result with it; else what tells it from the tried ones"
    )
    seed: int = option(0, "of all draws", low=0)
    stories: int = option(6, "problems whose attempts the page shows; 0 writes none", low=0)
    batch_size: int = option(256, "attempts that are written together", low=1)
    out: str | None = option(None, "the folder of the results; null: attempts, in the run's")
    device: str | None = option(None, "any name that torch knows; null: cuda where there is one")


def check(options: Options) -> None:
    """Refuse what no run can do, before work starts. Raises UserError."""
    unknown = [name for name in options.policies if name not in DECIDING]
    if unknown or not options.policies or len(set(options.policies)) < len(options.policies):
        raise UserError(f"policies must name some of {', '.join(DECIDING)}, each once, got {_typed(options.policies)}")
    for name in ("splits", "budgets"):
        values: list[Any] = getattr(options, name)
        if not values or len(set(values)) < len(values):
            raise UserError(f"{name} must name something, and each once, got {_typed(values)}")
    if options.judge_flips > 1:
        raise UserError(f"judge_flips must be at most 1, got {options.judge_flips:g}")
    if max(options.budgets) > 1000:
        raise UserError(f"budgets must be at most 1000, got {max(options.budgets):g}")
    check_once(options.run)
    if len(options.run) > 1 and options.out is None:
        raise UserError(f"out=FOLDER is missing: {len(options.run)} runs have one table")
    check_out(options.out, folder=True)


def _typed(values: Sequence[Any]) -> str:
    return "[" + ",".join(map(str, values)) + "]"


def writer_of(place: str, options: Options) -> tuple[Writer, dict[str, Any]]:
    """Return the writer of a run's model, and what the result says of the run. Raises UserError that names it."""
    import torch

    from sos import source_hash
    from sos.config import config_hash
    from sos.improve.attempts import check_trees
    from sos.improve.attempts_chains import Settings, Writer
    from sos.runs.checkpoint import config_of, load_checkpoint, load_model, moved, system_of
    from sos.runs.folder import RunFolder, checkpoint_of
    from sos.train.precision import decoding

    path = checkpoint_of(place)
    loaded = load_checkpoint(path)
    config = config_of(loaded)
    system = system_of(loaded, config)
    check_trees(system, f"{place}: a second attempt")
    config.stream.check_whole(place, "a second attempt goes on from whole ones")
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = moved(load_model(loaded, system), device)
    numbers = (options.temperature, options.seed, config.eval.max_tokens, options.judge_flips, options.batch_size)
    settings = Settings(*numbers, options.whole_action)
    precision = config.trainer.precision
    writer = Writer(system, model, settings, lambda where: decoding(where, precision))
    known = {
        "run": str(RunFolder.of_checkpoint(path).path),
        "checkpoint": str(path),
        "problems_seed": config.eval.seed,
        "config_hash": config_hash(config),
        "code_hash": source_hash(),
        "parameters": model.num_parameters(),
    }
    return writer, known


def problems_of(writer: Writer, options: Options, seed: int) -> dict[str, Any]:
    """Return the problems of each split, int32 (P, W). Raises UserError where a split has none, or where the dialect
    has no words for what a pivot begins with."""
    from sos.improve.attempts import check_openings
    from sos.judge.problems import split_problems

    system = writer.system
    found: dict[str, Any] = {}
    for split in options.splits:
        if split == "val_target" and not len(system.splits.held_out) and len(options.splits) > 1:
            continue
        rows = split_problems(system, split, options.problems, seed=seed)
        if not len(rows):
            raise UserError(f"splits={_typed(options.splits)}: {split} holds no problem")
        if set(options.policies) - {"restart", "refine"}:
            check_openings(system, rows[0], f"policies={_typed(options.policies)}")
        found[split] = rows
    return found


def attempted(writer: Writer, options: Options, split: str, problems: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the chains of each policy on the problems of a split, and the result of the split."""
    from sos.analysis.attempts import Budgets, digest_of, split_result
    from sos.improve.attempts_chains import Posed, first_attempts, follow
    from sos.train.bars import progress_bars

    update, close = progress_bars()

    def progress(phase: str, done: int, total: int) -> None:
        update(f"{split} {phase}", done, total)

    posed = Posed(problems, options.samples)
    first = first_attempts(writer, posed, progress)
    budgets = Budgets.of(options.budgets, first)
    found: dict[str, list[Chain]] = {}
    for policy in options.policies:
        found[policy] = follow(writer, policy, posed, first, budgets.tokens[-1], progress)
    close()
    result = split_result(found, budgets, len(problems), options.samples)
    return found, result | {"digest": digest_of(problems)}


def story_page(writer: Writer, chains: dict[str, list[Chain]], num: int) -> str:
    """Return a page with all attempts at the first `num` problems that the first one did not solve, policy by policy,
    as `sos view` shows them."""
    from sos.view.page import build_page, from_tokens, trace_data

    system = writer.system
    policies = [name for name in ("rule", "refine", "pivot", "random") if name in chains] or list(chains)[:1]
    some = next(iter(chains.values()))
    shown: list[dict[str, Any]] = []
    numbers = [k for k in range(len(some)) if any(len(chains[name][k].attempts) > 1 for name in policies)][:num]
    for k in numbers:
        for name in policies[:3]:
            chain = chains[name][k]
            for at, (attempt, finding) in enumerate(zip(chain.attempts, chain.findings, strict=True)):
                if at == 0 and name != policies[0]:
                    continue
                title = f"problem {chain.number} · {name if at else 'all'} · attempt {at + 1}: {_began(attempt)}"
                detail = f"{finding.diagnosis.name.lower().replace('_', ' ')}, {attempt.charged} tokens"
                stream = from_tokens(system.dialect, system.env, chain.problem, attempt.tokens, title, detail)
                shown.append(trace_data(system.dialect, system.env, stream))
        if len(shown) >= MOST_SHOWN:
            break
    return build_page("Attempts", shown[:MOST_SHOWN]) if shown else ""


def _began(attempt: Any) -> str:
    """Say how an attempt began."""
    kept = attempt.kept - attempt.num_prompt
    return attempt.decision.name.lower() + (f", {kept} tokens kept" if kept else "")


def write(folder: Path, result: dict[str, Any], page: str = "") -> None:
    """Write a result, its figure and, where there is one, the page: all of them or, after an error, none."""
    from contextlib import ExitStack

    from sos.analysis.attempts import figure
    from sos.files import written_whole

    runs = result.get("runs", [result])
    with ExitStack() as renamed:  # at its end, when all are written
        paths = {name: folder / name for name in FILES if page or name != STORIES}
        places = {name: renamed.enter_context(written_whole(path)) for name, path in paths.items()}
        places[RESULT].write_text(json.dumps(result, allow_nan=False), encoding="utf-8")
        figure(runs).savefig(places[FIGURE], format="png")
        if page:
            places[STORIES].write_text(page, encoding="utf-8")
    if not page:  # an earlier one would be of another result
        (folder / STORIES).unlink(missing_ok=True)


def run(options: Options) -> None:
    """Let the runs attempt, write the files and print the tables."""
    check(options)
    import sos.published  # noqa: F401 (it registers a split)
    from sos.analysis.attempts import check_alike, tables

    asked = {name: value for name, value in asdict(options).items() if name not in ("run", "out", "device")}
    made = []
    for place in options.run:  # all are checked before the first one works
        writer, known = writer_of(place, options)
        made.append((place, writer, known, problems_of(writer, options, known["problems_seed"])))
    check_alike({place: problems for place, _, _, problems in made})
    single = len(options.run) == 1 and options.out is not None
    folders = [Path(options.out or "") if single else Path(known["run"]) / "attempts" for _, _, known, _ in made]
    common = [Path(str(options.out))] if len(made) > 1 else []
    results: list[dict[str, Any]] = []
    with held("attempts", FILES, *dict.fromkeys([*folders, *common])):
        for (place, writer, known, problems), folder in zip(made, folders, strict=True):
            result = known | {"settings": asked, "splits": {}}
            page = ""
            for split, rows in problems.items():
                chains, result["splits"][split] = attempted(writer, options, split, rows)
                page = page or (story_page(writer, chains, options.stories) if options.stories else "")
            print(f"{place}\n{tables([result])}\n", flush=True)  # also where the disk is full
            write(folder, result, page)
            print(f"wrote {folder}")
            results.append(result)
        if common:
            print(f"\nall {len(results)} runs\n{tables(results)}\n", flush=True)
            write(common[0], {"settings": asked, "runs": results})
            print(f"wrote {common[0]}")
