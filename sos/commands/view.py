"""`sos view`: one HTML page that shows searches and rollouts, and works offline."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sos.commands.output import check_out
from sos.commands.words import TRAIN_ROOTS, configs, option, places
from sos.errors import UserError

if TYPE_CHECKING:
    from sos.stream.dialect.compile import Dialect
    from sos.view.page import TraceStream

SOURCES = ("rollout", "checkpoint", "traces", "shard", "tokens", "text")
MAX_TRACES = 64


@dataclass
class Options:
    """PLACE or one of the keys says what is shown:

      sos view problem=[47,2,17,15]         a search for a problem: the target, and the numbers
      sos view split=val index=3            a search for problem 3 of a split, as evaluations number it
      sos view RUN index=3                  what a run's model wrote on problem 3, and its teacher
      sos view RUN problem=[47,2,17,15]     with checkpoints/last.ckpt for RUN: a rollout of your own
      sos view RUN context=plan index=3     the same with a hint before it, as evaluated with eval.context=[plan]
      sos view DATASET index=3              trace or stream 3 of a data set

    Values with commas, here and for index, make one trace each, all in one page with a selector: search=dfs,dfs_paper
    stream.view=full,solution_path index=0,1. With a run or a checkpoint the run says what env and dialect are, and
    only search keys, the teacher's, can be given."""

    place: list[str] = places("PLACE", "a run folder, a checkpoint, a data set, or a file of traces", most=1, least=0)
    problem: str | None = option(None, "a problem as its environment writes it, such as [25,3,8,4]")
    split: str | None = option(None, "whose problems; null: val")
    index: str | None = option(None, "the number of the problem, trace or stream, or several: 0,1; null: 0")
    context: str | None = option(
        None, "with a model: what stands before the problem, as in eval.context, such as plan; null: none"
    )
    rollout: str | None = option(None, "a run folder, or a folder of runs: the model of each")
    checkpoint: str | None = option(None, "a checkpoint or a run folder, whose model rolls out now")
    traces: str | None = option(None, "a file of traces, as sos convert writes it")
    shard: str | None = option(None, "the folder of a data set, as sos generate writes it")
    tokens: str | None = option(
        None, "a file of streams as integers, one a line; problem=... judges them as its answers"
    )
    text: str | None = option(None, "a file with one stream as text; <bos> and <eos> are added where it has none")
    teacher: str | None = option(None, "with a model: false leaves the teacher's search out; null: true")
    title: str = option("Search traces", "the page's heading")
    device: str | None = option(None, "where a checkpoint runs; null: cpu")
    out: str = option("trace.html", "the page")
    overrides: list[str] = configs(TRAIN_ROOTS, "how the search is made and written")


def sources_of(options: Options) -> dict[str, str]:
    """Return the keys that are given, a place under the key that it stands for. Raises UserError where two things are
    named."""
    given = {name: value for name, value in asdict(options).items() if isinstance(value, str)}
    if options.place:
        name = kind_of(options.place[0])
        if name in given:
            raise UserError(f"{options.place[0]} and {name}={given[name]} are two sources; give one")
        given[name] = options.place[0]
    named = [name for name in SOURCES if name in given]
    if len(named) > 1:
        raise UserError(f"{named[0]} and {named[1]} are two sources; give one")
    if not named and not {"problem", "split"} & given.keys():
        raise UserError(f"nothing to show: give problem=..., split=..., or one of {', '.join(SOURCES)}")
    if "context" in given and not {"rollout", "checkpoint"} & given.keys():
        raise UserError(f"context={given['context']} stands before what a model answers: give a run or a checkpoint")
    if "problem" in given and {"split", "index"} & given.keys():
        raise UserError("problem and split/index both name the problem; give one")
    return given


def kind_of(place: str) -> str:
    """Return which source a path is by what lies there. Raises UserError where nothing does."""
    path = Path(place)
    if not path.exists():
        raise UserError(f"no such run, checkpoint, data set or file: {place}")
    if path.is_dir():
        return "shard" if (path / "manifest.json").is_file() else "rollout"
    return "checkpoint" if path.suffix == ".ckpt" else "traces"


def build(options: dict[str, str], overrides: list[str]) -> list[tuple[Dialect, object, TraceStream]]:
    """Return (dialect, env, trace) of everything that the arguments ask for."""
    from sos.view import sources

    if "rollout" in options or "checkpoint" in options:
        return sources.from_models(options, overrides)
    if "traces" in options:
        return sources.from_trace_file(options, overrides)
    if "shard" in options:
        from sos.view.shards import from_shards

        return from_shards(options, overrides)
    if "tokens" in options or "text" in options:
        return sources.from_files(options, overrides)
    return sources.from_searches(options, overrides)


def run(options: Options) -> None:
    """Write the page. Raises UserError for what the user can mend, before anything is written."""
    given = sources_of(options)
    check_out(options.out, inputs=[given[name] for name in SOURCES if name in given])
    out = Path(options.out)
    from sos.files import written_whole
    from sos.trace import PLAN
    from sos.view.page import build_page, trace_data

    shown = build(given, options.overrides)
    if len(shown) > MAX_TRACES:
        raise UserError(f"{len(shown)} traces are asked for; one page shows {MAX_TRACES} at most")
    data = [trace_data(dialect, env, trace) for dialect, env, trace in shown]
    page = build_page(options.title, data)
    with written_whole(out) as partial:
        partial.write_text(page, encoding="utf-8")
    for one in data:
        solved = "solved" if one["solved"] else "not solved"
        if PLAN in one["kinds"]:
            solved += ", the plan is right" if one["planEvent"] >= 0 else ", the plan is wrong"
        nodes, events, tokens = len(one["tree"]["parents"]), len(one["kinds"]), len(one["tokens"])
        counts = f"{nodes} nodes, {events} events, {tokens} tokens, {len(one['mistakes'])} mistakes"
        print(f"{one['title']}: {solved}; {counts}")
    print(f"wrote {out} ({len(page.encode()) / 1e6:.1f} MB)")
