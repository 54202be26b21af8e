"""Experiences on disk: an evaluation's file of rollouts with more columns, written whole or not at all.

What `sos.runs.rollouts` reads of an evaluation is there under the same names, so that whatever reads rollouts reads an
experience too. The other way round, an evaluation's file becomes an experience by reading its streams once more: it
keeps no log-probabilities, which are NaN then.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sos.errors import UserError
from sos.files import damaged, written_whole
from sos.improve.experience import BY_EVENT, BY_ROLLOUT, BY_TOKEN, COLUMNS, UNMEASURED, Experience, from_rollouts
from sos.improve.selections_options import CLASSES
from sos.model.rollout import Rollout
from sos.runs.rollouts import ARRAYS, FAULTS, Column, Format, read_arrays, read_rollouts
from sos.stream.codec import encode_prompt
from sos.stream.dialect.vocab import EOS
from sos.stream.slot import behind_context
from sos.stream.verify import Error
from sos.system import System
from sos.trace import Event

INT32, INT64 = np.iinfo(np.int32), np.iinfo(np.int64)
LARGE = 1e300
EVALUATED = ("problems", "solved", "planned", "generated_tokens", "tokens_to_goal", "num_errors", "nodes")
ADDED: dict[str, Column] = {
    "indices": (np.int64, 1, INT64.min, INT64.max),
    "groups": (np.int64, 1, 0, INT64.max),
    "steps": (np.int64, 1, 0, INT64.max),
    "rewards": (np.float64, 1, -LARGE, LARGE),
    "finished": (np.bool_, 1, 0, 1),
    "malformed": (np.bool_, 1, 0, 1),
    "num_prompt": (np.int32, 1, 0, INT32.max),
    "num_context": (np.int32, 1, 0, INT32.max),
    "error_penalties": (np.float64, 1, 0, LARGE),
    "format_penalties": (np.float64, 1, 0, LARGE),
    "classes": (np.int8, 1, UNMEASURED, len(CLASSES) - 1),
    "logprobs": (np.float32, 1, np.nan, np.nan),
    "token_errors": (np.int8, 1, 0, max(Error)),
    "event_kinds": (np.int8, 1, 0, max(Event)),
    "event_errors": (np.int8, 1, 0, max(Error)),
    "event_offsets": (np.int64, 1, 0, INT64.max),
}
KEPT: dict[str, Column] = {name: ARRAYS[name] for name in (*EVALUATED, "tokens", "offsets")} | ADDED
FORMAT = Format(
    KEPT,
    tuple(KEPT),
    dict.fromkeys(BY_TOKEN, "offsets") | dict.fromkeys(BY_EVENT, "event_offsets"),
)


def save(path: Path, experience: Experience) -> None:
    """Write an experience into a file (.npz), whole or not at all. Raises UserError for an empty one."""
    if not len(experience):
        raise UserError(f"{path}: there are no rollouts to write")
    arrays = {name: getattr(experience, name) for name in COLUMNS}
    arrays["generated_tokens"] = experience.lengths.astype(np.int32)
    arrays["num_errors"] = experience.num_errors.astype(np.int32)
    with written_whole(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, **arrays)


def load(path: Path, system: System | None = None) -> Experience:
    """Return the experience in a file; with the run's `system`, only what its environment and vocabulary have room for.

    An evaluation's file of rollouts is read, too, and its streams are verified once more, which needs the system.
    Raises UserError that names the file.
    """
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    if not is_experience(path):
        return _from_evaluation(path, system)
    found = read_arrays(path, FORMAT, system)
    lengths = np.diff(found["offsets"])
    if (found["num_prompt"] > lengths).any() or (found["num_context"] > found["num_prompt"]).any():
        row = int(np.argmax((found["num_prompt"] > lengths) | (found["num_context"] > found["num_prompt"])))
        raise damaged(path, f"the prompt of row {row} is longer than its stream, or the context than the prompt")
    return Experience(**{name: found[name] for name in COLUMNS})


def is_experience(path: Path) -> bool:
    """Whether a file holds any column that evaluations do not write. Raises UserError for a file that is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.removesuffix(".npy") in ADDED for name in archive.namelist())
    except FAULTS as error:
        raise damaged(path, str(error)[:200] or type(error).__name__) from error


def _from_evaluation(path: Path, system: System | None) -> Experience:
    """Return what an evaluation kept, its streams verified once more."""
    if system is None:
        raise UserError(f"{path} holds an evaluation's rollouts: its run's config is needed to read them")
    kept = read_rollouts(path, system)
    if "tokens" not in kept.columns:
        raise UserError(f"{path} keeps no tokens (an older version wrote it); write it anew with sos evaluate")
    rollouts = []
    for row, (problem, tokens) in enumerate(zip(kept.problems, kept.streams, strict=True)):
        prompt = encode_prompt(system.dialect, problem, ())
        start = behind_context(system.dialect.slot, tokens)
        num = start - 1 + len(prompt)
        if start < 0 or [*tokens[:1].tolist(), *tokens[start:num].tolist()] != prompt:
            raise damaged(path, f"the stream of row {row} does not begin with its problem")
        rollouts.append(_rollout(tokens, num))
    return from_rollouts(system, kept.problems, rollouts)


def _rollout(tokens: npt.NDArray[np.uint16], num_prompt: int) -> Rollout:
    written = len(tokens) - num_prompt
    finished = bool(written and tokens[-1] == EOS)
    return Rollout(tokens.astype(np.int32), num_prompt, finished, np.full(written, np.nan, np.float32))


assert {*BY_ROLLOUT, *BY_TOKEN, *BY_EVENT} <= KEPT.keys()
