"""The experience: rollouts with their verdicts as parallel arrays. Whatever improves a model is a function of it.

N rollouts of T tokens and E events in all. Tokens are those of whole streams, prompts included; events are what the
verifier read in them, the first of each rollout being the problem itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sos.errors import UserError
from sos.improve.penalties import count_calls, error_penalties, format_penalties
from sos.model.rollout import Rollout
from sos.stream.codec import DecodeStatus
from sos.stream.verify import verify_tokens
from sos.system import System
from sos.trace import KIND, Event

BY_TOKEN = ("tokens", "logprobs", "token_errors")
BY_EVENT = ("event_kinds", "event_errors")
OFFSETS = ("offsets", "event_offsets")
UNMEASURED = -1


@dataclass(frozen=True)
class Experience:
    """See the module. Rollout i is `tokens[offsets[i]:offsets[i + 1]]`, and so are its events."""

    problems: npt.NDArray[np.int32]  # (N, P): rows of the environment
    indices: npt.NDArray[np.int64]  # (N,): the number of the problem in its stream
    groups: npt.NDArray[np.int64]  # (N,): from 0; the rollouts that answer one problem together
    steps: npt.NDArray[np.int64]  # (N,): the step of the policy that wrote it
    rewards: npt.NDArray[np.float64]  # (N,)
    solved: npt.NDArray[np.bool_]  # (N,): at the first goal, whatever comes after it
    planned: npt.NDArray[np.bool_]  # (N,): by the plan
    finished: npt.NDArray[np.bool_]  # (N,): the end token was written
    malformed: npt.NDArray[np.bool_]  # (N,): reading stopped at a token that no form of the dialect allows
    num_prompt: npt.NDArray[np.int32]  # (N,): tokens of the prompt, the context in it included
    num_context: npt.NDArray[np.int32]  # (N,): tokens between the first one and the problem
    tokens_to_goal: npt.NDArray[np.int32]  # (N,): generated tokens up to the goal and with it; -1 if not solved
    nodes: npt.NDArray[np.int32]  # (N,): nodes expanded, the root included
    error_penalties: npt.NDArray[np.float64]  # (N,), see `sos.improve.penalties`
    format_penalties: npt.NDArray[np.float64]  # (N,)
    classes: npt.NDArray[np.int8]  # (N,): the class of its problem, see `sos.improve.selections`; -1 where unknown
    tokens: npt.NDArray[np.uint16]  # (T,)
    logprobs: npt.NDArray[np.float32]  # (T,): under the policy that wrote them; 0 in prompts, NaN where not kept
    token_errors: npt.NDArray[np.int8]  # (T,): the `Error` of the event that a token tells; 0 in prompts
    offsets: npt.NDArray[np.int64]  # (N + 1,)
    event_kinds: npt.NDArray[np.int8]  # (E,)
    event_errors: npt.NDArray[np.int8]  # (E,): an `Error` each
    event_offsets: npt.NDArray[np.int64]  # (N + 1,)

    def __len__(self) -> int:
        """The number of rollouts."""
        return len(self.solved)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens that the policy wrote, (N,)."""
        return self.offsets[1:] - self.offsets[:-1] - self.num_prompt.astype(np.int64)

    @property
    def num_errors(self) -> npt.NDArray[np.int64]:
        """Mistakes of each rollout, (N,): its wrong events, and one more where it becomes unreadable."""
        totals = _offsets(self.event_errors != 0)
        return totals[self.event_offsets[1:]] - totals[self.event_offsets[:-1]] + self.malformed.astype(np.int64)

    def tokens_of(self, rollout: int) -> npt.NDArray[np.uint16]:
        """Return the whole stream of a rollout, a view."""
        return self.tokens[self.offsets[rollout] : self.offsets[rollout + 1]]

    def logprobs_of(self, rollout: int) -> npt.NDArray[np.float32]:
        """Return the log-probabilities of what the policy wrote in a rollout, a view."""
        return self.logprobs[self.offsets[rollout] + self.num_prompt[rollout] : self.offsets[rollout + 1]]

    def select(self, indices: npt.ArrayLike) -> Experience:
        """Return some rollouts in the given order, with their groups' numbers as they are.

        Raises UserError for an index that is none.
        """
        chosen = np.asarray(indices)
        if chosen.size and not np.issubdtype(chosen.dtype, np.integer):
            raise UserError(f"indices must be whole numbers, got {chosen.dtype}")
        chosen = chosen.astype(np.int64).reshape(-1)
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(self):
            raise UserError(f"indices must be from 0 to {len(self) - 1}, got {chosen.min()} to {chosen.max()}")
        found = {name: getattr(self, name)[chosen] for name in BY_ROLLOUT}
        for names, of in ((BY_TOKEN, "offsets"), (BY_EVENT, "event_offsets")):
            places, found[of] = _ragged(getattr(self, of), chosen)
            found |= {name: getattr(self, name)[places] for name in names}
        return Experience(**found)

    def replace(self, **columns: Any) -> Experience:
        """Return the same rollouts with other columns, such as rewards. Raises UserError for a wrong shape."""
        for name, values in columns.items():
            if np.shape(values) != np.shape(getattr(self, name)):
                raise UserError(f"{name} must have the shape {np.shape(getattr(self, name))}, got {np.shape(values)}")
        typed = {name: np.asarray(values, getattr(self, name).dtype) for name, values in columns.items()}
        return dataclasses.replace(self, **typed)


COLUMNS = tuple(field.name for field in dataclasses.fields(Experience))
BY_ROLLOUT = tuple(name for name in COLUMNS if name not in (*BY_TOKEN, *BY_EVENT, *OFFSETS))


class _Read(NamedTuple):
    """What the verifier found in one rollout."""

    solved: bool
    planned: bool
    malformed: bool
    tokens_to_goal: int
    kinds: npt.NDArray[np.int8]  # of its events
    errors: npt.NDArray[np.int8]  # of its events
    token_errors: npt.NDArray[np.int8]


def from_rollouts(
    system: System,
    problems: npt.NDArray[np.int32],
    rollouts: Sequence[Rollout],
    *,
    groups: npt.ArrayLike | None = None,
    indices: npt.ArrayLike | None = None,
    step: int = 0,
    rewards: npt.ArrayLike | None = None,
    num_context: npt.ArrayLike = 0,
) -> Experience:
    """Read and verify rollouts, rollout i as an answer to `problems[i]` (int32 (N, P)). About 0.1 ms each.

    Args:
        groups: (N,), from 0; None puts the rollouts of equal problems together.
        indices: (N,), the numbers of the problems in their stream; None is the numbers of the groups.
        step: of the policy that wrote them.
        rewards: (N,); None is 1 for the solved ones and 0 for the others.

    Raises UserError for numbers of rows that differ.
    """
    num = len(rollouts)
    if len(problems) != num:
        raise UserError(f"there are {len(problems)} problems for {num} rollouts")
    of = _column("groups", _equal_rows(problems) if groups is None else groups, num, np.int64)
    # On one thread, as in sos.judge: most of it is Python.
    read = [_read(system, problem, rollout) for problem, rollout in zip(problems, rollouts, strict=True)]
    solved, malformed = (np.array([getattr(r, name) for r in read], np.bool_) for name in ("solved", "malformed"))
    event_kinds, event_errors = _joined([r.kinds for r in read], np.int8), _joined([r.errors for r in read], np.int8)
    event_offsets = _offsets([len(r.kinds) for r in read])
    counted = count_calls(event_kinds, event_errors, event_offsets, malformed)
    return Experience(
        problems=np.asarray(problems, np.int32),
        indices=of if indices is None else _column("indices", indices, num, np.int64),
        groups=of,
        steps=np.full(num, step, np.int64),
        rewards=_column("rewards", solved if rewards is None else rewards, num, np.float64),
        solved=solved,
        planned=np.array([r.planned for r in read], np.bool_),
        finished=np.array([rollout.finished for rollout in rollouts], np.bool_),
        malformed=malformed,
        num_prompt=np.array([rollout.num_prompt for rollout in rollouts], np.int32),
        num_context=_column("num_context", np.broadcast_to(num_context, num), num, np.int32),
        tokens_to_goal=np.array([r.tokens_to_goal for r in read], np.int32),
        nodes=np.array([np.count_nonzero(r.kinds == Event.EXPAND) for r in read], np.int32),
        error_penalties=error_penalties(counted.calls, counted.errors),
        format_penalties=format_penalties(counted.answers, counted.turns),
        classes=np.full(num, UNMEASURED, np.int8),
        tokens=_joined([rollout.tokens for rollout in rollouts], np.uint16),
        logprobs=_joined([_with_prompt(rollout) for rollout in rollouts], np.float32),
        token_errors=_joined([r.token_errors for r in read], np.int8),
        offsets=_offsets([len(rollout.tokens) for rollout in rollouts]),
        event_kinds=event_kinds,
        event_errors=event_errors,
        event_offsets=event_offsets,
    )


def _read(system: System, problem: npt.NDArray[np.int32], rollout: Rollout) -> _Read:
    """Read and verify one rollout."""
    verdict, trace, align = verify_tokens(system.dialect, system.env, problem, rollout.tokens)
    to_goal = -1
    if verdict.solved:
        to_goal = int(np.flatnonzero(align == verdict.goal_event)[-1]) + 1 - rollout.num_prompt
    told = np.zeros(len(rollout.tokens), np.int8)  # 0 for tokens that nobody read
    if len(verdict.errors):
        told[: len(align)] = np.where(align >= 0, verdict.errors[np.maximum(align, 0)], 0)
    kinds = trace.events[:, KIND].astype(np.int8)
    malformed = verdict.status == DecodeStatus.MALFORMED
    return _Read(verdict.solved, verdict.planned, malformed, to_goal, kinds, verdict.errors, told)


def concatenate(parts: Sequence[Experience]) -> Experience:
    """Return the rollouts of all parts, one after the other; groups of different parts stay apart.

    Raises UserError without parts.
    """
    if not parts:
        raise UserError("there is no experience to concatenate")
    found = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS if name not in OFFSETS}
    for name in OFFSETS:
        found[name] = _offsets(np.concatenate([np.diff(getattr(part, name)) for part in parts]))
    first, shifted = 0, []
    for part in parts:
        shifted.append(part.groups + first)
        first += int(part.groups.max(initial=-1)) + 1
    return Experience(**found | {"groups": np.concatenate(shifted)})


def _with_prompt(rollout: Rollout) -> npt.NDArray[np.float32]:
    return np.concatenate([np.zeros(rollout.num_prompt, np.float32), rollout.logprobs])


def _ragged(
    offsets: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the places of the chosen rows' entries, and the offsets that they have then."""
    sizes = np.diff(offsets)[chosen]
    new = _offsets(sizes)
    return np.arange(new[-1]) + np.repeat(offsets[:-1][chosen] - new[:-1], sizes), new


def _offsets(sizes: Any) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)


def _joined(parts: Sequence[npt.NDArray], dtype: Any) -> npt.NDArray:
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)


def _column(name: str, values: Any, num: int, dtype: Any) -> npt.NDArray:
    found = np.asarray(values)
    if found.shape != (num,):
        raise UserError(f"{name} must have the shape ({num},), one a rollout, got {found.shape}")
    return found.astype(dtype)


def _equal_rows(problems: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Number the problems in the order in which each first occurs."""
    if not len(problems):
        return np.zeros(0, np.int64)
    _, first, of = np.unique(problems, axis=0, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[of.reshape(-1)]
