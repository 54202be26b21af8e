"""`sos recovery RUN`: what a model makes of a search in which one step is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sos.commands.output import check_out, held
from sos.commands.words import check_once, option, places
from sos.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from sos.improve.recovery import Case
    from sos.model.gpt import GPT
    from sos.system import System

RESULT = "recovery.json"
OWN, REFERENCE = FROM = ("own", "reference")


@dataclass
class Options:
    """A model is made to go on from a search whose last step is as it was (plain), has a mistake in it (wrong), or
    leads into a branch from which no goal can be reached (dead), and is asked to solve the problem all the same,
    greedily. The beginning is that of the model's own greedy answer, or of the search that a reference stream tells.
    Printed are the solve rates, the differences to plain on the same problems, how often something else than the branch
    of this step is told afterwards, and how often a goal is claimed within it. The folder gets recovery.json; several
    runs are one table."""

    run: list[str] = places("RUN", "run folders or checkpoints")
    problems: int = option(300, "how many of each split", low=1)
    splits: list[str] = option(["val"], "whose problems")
    beginning: str = option(REFERENCE, "whose search begins: the model's own, or the reference's", choices=FROM)
    seed: int = option(0, "of the draws of steps", low=0)
    max_tokens: int | None = option(None, "tokens that are written; null: what the context leaves", low=1)
    batch_size: int = option(256, "answers that are written together", low=1)
    out: str | None = option(None, "the folder of the result; null: recovery, in the first run's")
    device: str | None = option(None, "any name that torch knows; null: cuda where there is one")


class Model:
    """A run's model, ready to write. Raises UserError that names the run."""

    def __init__(self, place: str, options: Options) -> None:
        import torch

        from sos.config import config_hash
        from sos.improve.attempts import check_trees
        from sos.runs.checkpoint import config_of, load_checkpoint, load_model, moved, system_of
        from sos.runs.folder import RunFolder, checkpoint_of

        path = checkpoint_of(place)
        loaded = load_checkpoint(path)
        self.config, self.options = config_of(loaded), options
        self.system: System = system_of(loaded, self.config)
        check_trees(self.system, f"{place}: a step that is exchanged")
        self.config.stream.check_whole(place, "a wrong step stands in whole ones")
        device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.model: GPT = moved(load_model(loaded, self.system), device)
        self.folder = RunFolder.of_checkpoint(path).path
        self.known = {"run": str(self.folder), "checkpoint": str(path), "config_hash": config_hash(self.config)}

    def written(self, prompts: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the whole greedy streams that begin with these tokens, int32 (T,) each."""
        import numpy as np

        from sos.model.rollout import rollout
        from sos.train.precision import decoding

        if not prompts:
            return []
        context = self.system.context
        most = np.array([min(self.options.max_tokens or context, context - len(p)) for p in prompts], np.int64)
        with decoding(self.model.device, self.config.trainer.precision):
            answers = rollout(self.model, prompts, max_tokens=most, batch_size=self.options.batch_size)
        return [answer.tokens.astype(np.int32) for answer in answers]

    def beginnings(self, problems: np.ndarray) -> list[np.ndarray]:
        """Return the searches that are begun with, as streams, int32 (T,) each."""
        import numpy as np

        from sos.improve.recovery import reference_streams
        from sos.stream.codec import encode_prompt

        system = self.system
        if self.options.beginning == OWN:
            return self.written([np.array(encode_prompt(system.dialect, problem), np.int32) for problem in problems])
        return reference_streams(system, problems, self.options.seed)


def run(options: Options) -> None:
    """Let the runs write on, write the file and print the tables."""
    if not options.splits or len(set(options.splits)) < len(options.splits):
        raise UserError(f"splits must name something, and each once, got [{','.join(options.splits)}]")
    check_once(options.run)
    check_out(options.out, folder=True)
    import sos.published  # noqa: F401 (it registers a split)
    from sos.analysis.attempts import check_alike
    from sos.analysis.recovery import tables
    from sos.files import write_json
    from sos.judge.problems import split_problems

    models = [Model(place, options) for place in options.run]
    posed: list[dict[str, np.ndarray]] = []
    for model in models:
        found = {
            split: split_problems(model.system, split, options.problems, seed=model.config.eval.seed)
            for split in options.splits
        }
        if empty := [split for split, rows in found.items() if not len(rows)]:
            raise UserError(f"splits=[{','.join(options.splits)}]: {empty[0]} holds no problem")
        posed.append(found)
    check_alike(dict(zip(options.run, posed, strict=True)))
    folder = Path(options.out or models[0].folder / "recovery")
    asked = {name: value for name, value in asdict(options).items() if name not in ("run", "out", "device")}
    results = []
    with held("recovery", [RESULT], folder):
        for model, found in zip(models, posed, strict=True):
            splits = {split: measured(model, problems) for split, problems in found.items()}
            results.append(model.known | {"splits": splits})
        print(f"{tables(results)}\n", flush=True)  # also where the disk is full
        write_json(folder / RESULT, {"settings": asked, "runs": results})
    print(f"wrote {folder}")


def measured(model: Model, problems: np.ndarray) -> dict[str, Any]:
    """Return what a model makes of the cases of problems, int32 (P, W), as JSON takes it. Raises UserError where no
    problem has one."""
    from collections import Counter

    from sos.improve.recovery import STARTS, cases_of, outcomes_of

    system, options = model.system, model.options
    cases: list[Case] = cases_of(system, problems, model.beginnings(problems), options.seed)
    cases = [case for case in cases if max(map(len, case.starts.values())) < system.context]
    if not cases:
        raise UserError(
            f"{model.known['run']}: no search for one of {len(problems)} problems has a step that can be exchanged "
            "for a mistake and for a branch without a goal"
        )
    starts = {}
    for start in STARTS:
        answers = model.written([case.starts[start] for case in cases])
        found = outcomes_of(system, problems, cases, start, answers)
        starts[start] = {name: column.astype(int).tolist() for name, column in found._asdict().items()}
    return {
        "problems": len(problems),
        "numbers": [case.number for case in cases],
        "promising": [int(case.promising) for case in cases],
        "errors": dict(Counter(case.error.name.lower() for case in cases)),
        "starts": starts,
    }
