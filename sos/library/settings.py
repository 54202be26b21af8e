"""What a user of the library says of a task and a run: the words of the command line, or a `Config`."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from sos.compose import compose
from sos.config import Config
from sos.envs.words import words_of
from sos.errors import UserError
from sos.schema.folders import searched
from sos.schema.keys import path_keys
from sos.system import System

# What a problem can be given as: the text or the numbers of its environment's form, such as "[56,9,7,1]"; the fields
# that exports have, such as {"nums": [9, 7, 1], "target": 56}; or a row of the environment, int (P,).
Problem = str | Sequence[int] | Mapping[str, Any] | np.ndarray


def config_of(settings: Sequence[str | Config]) -> Config:
    """Return the config that words such as "experiment=sudoku" and "seed=2" make of the default run, or the one that
    is given.

    Raises UserError in one line for an unknown key, an impossible value, and a `Config` beside words.
    """
    given = [setting for setting in settings if isinstance(setting, Config)]
    words = [setting for setting in settings if isinstance(setting, str)]
    if len(given) + len(words) < len(settings):
        wrong = next(setting for setting in settings if not isinstance(setting, (str, Config)))
        raise UserError(f"settings are words such as 'seed=2', or a Config, got {wrong!r:.60}")
    if given and len(settings) > 1:
        raise UserError("give a Config or words, not both: dataclasses.replace changes a Config")
    if given:
        return given[0]
    named = {word.partition("=")[0].lstrip("+") for word in words} & path_keys(Config)
    return compose(words) if named or searched() else copy.deepcopy(_composed(tuple(words)))


@lru_cache(maxsize=64)
def _composed(words: tuple[str, ...]) -> Config:
    """Compose words that name no file: it takes a third of a second, and searches are often asked for one by one."""
    return compose(words)


def problem_row(system: System, problem: Problem) -> np.ndarray:
    """Return a problem as the row of its environment, int32 (P,). Raises UserError where it can pose no such
    problem."""
    words = words_of(system.env)
    if isinstance(problem, np.ndarray):
        if problem.ndim != 1 or problem.dtype.kind not in "iu":
            raise UserError(f"a problem's row is whole numbers (P,), got {problem.dtype} {problem.shape}")
        return _checked(system, problem)
    if isinstance(problem, Mapping):
        fields = {name: _plain(value) for name, value in problem.items()}
        if unknown := [name for name in fields if name not in words.problem_fields]:
            raise UserError(f"a problem has the fields {', '.join(words.problem_fields)}, got {unknown[0]!r}")
        return _checked(system, words.row_of_record(fields))
    if isinstance(problem, str):
        return np.asarray(words.listed_problem(problem), np.int32)
    numbers = _plain(problem)
    if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
        raise UserError(f"a problem is {words.problem_form}, or its fields by name, got {problem!r:.60}")
    if words.problem_form.startswith("["):
        return np.asarray(words.listed_problem(f"[{','.join(map(str, numbers))}]"), np.int32)
    return np.asarray(words.listed_problem(numbers), np.int32)


def _checked(system: System, row: np.ndarray) -> np.ndarray:
    try:
        system.env.check_problems(row[None])
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"problem={row.tolist()!s:.80}: {error}") from error
    return row.astype(np.int32)


def _plain(value: Any) -> Any:
    """Return numbers of numpy as Python's, and tuples as lists."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
