"""An experience as JSON lines or Parquet, a row a rollout: `sos experience FILE out=FILE.jsonl` (or `.parquet`).

A row holds `index, group, step`, the environment's fields of the problem, `reward, solved, finished, malformed,
num_prompt`, `errors` (the name of each wrong event's error, in order), `input_ids`, per token `logprobs` (null where
none was kept, 0 in the prompt) and `token_errors` (the number of the `sos.stream.verify.Error` of the event that it
tells), and `text`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from sos.envs.words import words_of
from sos.errors import UserError
from sos.files import written_whole
from sos.improve.experience import Experience
from sos.interop.datasets import WRITERS, Row
from sos.stream.verify import Error
from sos.system import System

BATCH = 1000
_FIRST = {"index": "int", "group": "int", "step": "int"}
_THEN = {"reward": "float", "solved": "bool", "finished": "bool", "malformed": "bool", "num_prompt": "int"}
_LAST = {"errors": "texts", "input_ids": "tokens", "logprobs": "floats", "token_errors": "tokens", "text": "text"}


def export_experience(experience: Experience, system: System, out: Path) -> int:
    """Write an experience into one file, whole or not at all; return the number of rows.

    Raises UserError for a file name of neither kind, and for a missing pyarrow.
    """
    if out.suffix not in WRITERS:
        raise UserError(f"out={out} must end in {' or '.join(WRITERS)}")
    if out.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise UserError(f'out={out}: Parquet needs pyarrow: pip install -e ".[export]"')
    columns = {**_FIRST, **words_of(system.env).problem_fields, **_THEN, **_LAST}
    with written_whole(out) as partial:
        return WRITERS[out.suffix](partial, columns, _batches(experience, system))


def _batches(experience: Experience, system: System) -> Iterator[list[Row]]:
    for start in range(0, len(experience), BATCH):
        yield [_row(experience, system, i) for i in range(start, min(start + BATCH, len(experience)))]


def _row(experience: Experience, system: System, i: int) -> Row:
    begin, end = experience.offsets[i : i + 2]
    first, last = experience.event_offsets[i : i + 2]
    tokens, logprobs = experience.tokens_of(i), experience.logprobs[begin:end]
    errors = experience.event_errors[first:last]
    return {
        "index": int(experience.indices[i]),
        "group": int(experience.groups[i]),
        "step": int(experience.steps[i]),
        **words_of(system.env).problem_record(experience.problems[i]),
        "reward": float(experience.rewards[i]),
        "solved": bool(experience.solved[i]),
        "finished": bool(experience.finished[i]),
        "malformed": bool(experience.malformed[i]),
        "num_prompt": int(experience.num_prompt[i]),
        "errors": [Error(int(error)).name.lower() for error in errors[errors != 0]],
        "input_ids": tokens.tolist(),
        "logprobs": [None if np.isnan(value) else float(value) for value in logprobs],
        "token_errors": experience.token_errors[begin:end].tolist(),
        "text": system.dialect.text(tokens[1 : len(tokens) - int(experience.finished[i])]),
    }
