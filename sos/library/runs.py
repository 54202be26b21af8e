"""Trained models: made from here, loaded, rolled out and evaluated."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sos.published  # noqa: F401 (it registers the published metric and split)
from sos.config import EVAL_SPLITS, Config, config_from_dict, to_dict
from sos.errors import UserError
from sos.judge.evaluation import Evaluation, evaluate
from sos.judge.problems import split_problems
from sos.judge.rolling import roll
from sos.library.answers import Answer, judged
from sos.library.settings import Problem, config_of, problem_row
from sos.model.gpt import GPT
from sos.runs.checkpoint import config_of as stored_config
from sos.runs.checkpoint import load_checkpoint, load_model, moved
from sos.runs.finished import read_metrics
from sos.runs.folder import RunFolder, checkpoint_of
from sos.runs.provenance import Origin
from sos.schema.naming import run_name
from sos.stream.codec import encode_prompt
from sos.system import System, build_system
from sos.train.precision import decoding
from sos.train.pretrain import AlreadyFinished
from sos.train.pretrain import pretrain as run_training


@dataclass(frozen=True)
class Trained:
    """A trained model with its task."""

    folder: Path  # of the run
    config: Config = field(repr=False)
    system: System = field(repr=False)  # environment, search, view and dialect
    model: GPT = field(repr=False)

    @property
    def metrics(self) -> dict[str, float | None]:
        """The values of the run's final evaluation by name, such as `solve/val`; empty where it has none.

        Raises UserError for a damaged metrics.json.
        """
        if not RunFolder(self.folder).metrics.is_file():
            return {}
        return {name: entry["value"] for name, entry in read_metrics(self.folder)["metrics"].items()}

    def problems(self, num: int, split: str = "val") -> np.ndarray:
        """Return the first `num` problems on which runs of this environment are evaluated, int32 (num, P); fewer where
        a split has no more. Raises UserError for an unknown split."""
        if split not in EVAL_SPLITS:
            raise UserError(f"split must be one of {', '.join(EVAL_SPLITS)}, got {split}")
        return split_problems(self.system, split, num, seed=self.config.eval.seed)

    def rollout(
        self,
        problems: Sequence[Problem] | np.ndarray,
        *,
        samples: int = 1,
        temperature: float = 0.0,
        max_tokens: int | None = None,
        seed: int = 0,
        batch_size: int = 256,
    ) -> list[Answer]:
        """Let the model search problems, and judge what it writes.

        Args:
            problems: as `sos.solve` takes them, or rows int (N, P) such as those of `problems`.
            samples: answers to each problem; they stand behind each other in the result.
            temperature: 0 takes the most likely token.
            max_tokens: of an answer, the end token included; None takes what the context leaves.
            seed: of the draws; an answer depends on the number of its problem and of its sample, not on the others.
            batch_size: most rollouts at a time.

        Returns len(problems) * samples answers. Raises UserError for a problem that the environment cannot pose.
        """
        if samples < 1 or (samples > 1 and not temperature):
            raise UserError(f"samples={samples} needs a temperature above 0" if samples > 1 else f"samples={samples}")
        rows = [problem_row(self.system, problem) for problem in problems]
        prompts = [np.array(self.prompt(row), np.int32) for row in rows]
        with decoding(self.model.device, self.config.trainer.precision):
            found = roll(
                self.system,
                self.model,
                [prompt for prompt in prompts for _ in range(samples)],
                max_tokens=max_tokens,
                temperature=temperature,
                seed=seed,
                problem_indices=np.repeat(np.arange(len(rows)), samples),
                sample_indices=np.tile(np.arange(samples), len(rows)),
                batch_size=batch_size,
            )
        return [Answer.of(self.system, rows[r // samples], one.tokens, one.num_prompt) for r, one in enumerate(found)]

    def prompt(self, problem: Problem) -> list[int]:
        """Return the tokens that state a problem, `<bos>` first."""
        return encode_prompt(self.system.dialect, problem_row(self.system, problem))

    def verify(self, answer: str | Sequence[int] | np.ndarray, problem: Problem | None = None) -> Answer:
        """Judge a stream in the dialect of the run, as `sos.verify` does."""
        return judged(self.system, answer, problem)

    def evaluate(self, **keys: Any) -> Evaluation:
        """Evaluate the model as its run did, but for the keys of `eval` that are given, such as `num_problems=200`,
        `splits=["val"]`, `pass_k=[]`.

        Returns metrics with intervals (`Evaluation.metrics`, by names such as `solve/val`), and `table()`. Nothing is
        written. Raises UserError for an unknown key or an impossible value.
        """
        values = to_dict(self.config)
        config = config_from_dict(values | {"eval": values["eval"] | keys})
        system = build_system(config) if "problems" in keys else self.system
        with decoding(self.model.device, config.trainer.precision):
            return evaluate(self.model, system, config.eval)


def load(run: str | os.PathLike[str], device: str | None = None) -> Trained:
    """Load the model of a run folder, or of a checkpoint.

    Args:
        run: a folder of `python train.py`, `sos.pretrain` or `sos import`, or a checkpoint in one.
        device: any name that torch knows; None takes cuda where there is one, else the CPU.

    Raises UserError, which names the file, where there is no checkpoint or it is damaged, and where this version cannot
    read its dialect.
    """
    path = checkpoint_of(run)
    loaded = load_checkpoint(path)
    config = stored_config(loaded)
    system = build_system(config)
    model = moved(load_model(loaded, system), device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Trained(RunFolder.of_checkpoint(path).path, config, system, model.eval())


def pretrain(*settings: str | Config, folder: str | os.PathLike[str], again: bool = False) -> Trained:
    """Train a run, evaluate it, and return its model: `python train.py` without a command line.

    Args:
        settings: words of the command line, such as "experiment=smoke" and "seed=2", or a `Config`.
        folder: what the run writes into. One that holds this very run, finished, is loaded; unfinished, it goes on;
            what another run left there is moved aside.
        again: train anew where the folder holds this run already.

    Raises UserError for what cannot be, before anything is written, and for a training that diverges. A signal ends it
    with `KeyboardInterrupt`; the folder can then be continued.
    """
    config, place = config_of(settings), Path(folder)
    typed = [word for word in settings if isinstance(word, str) and "=" in word]
    origin = Origin.of(run_name(typed), typed, None, place) if typed else Origin(place.name)
    try:
        if run_training(config, place, origin, again=again) is None:
            raise UserError(f"{place}: sos.pretrain runs in one process; for several ranks use python train.py")
    except AlreadyFinished:
        pass
    return load(place)
