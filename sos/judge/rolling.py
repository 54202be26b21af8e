"""Rollouts of a run's model: whole ones, or, where its streams are erased, piece by piece.

Where finished branches are erased, a model has before it what is left of its stream (`sos.stream.erasing`). It writes
until it has returned from a branch; then the branch goes, and it writes on from what is left. What is returned is the
whole stream, as it was written: it is read and judged like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sos.model.gpt import GPT
from sos.model.rollout import Rollout, rollout
from sos.rng import stream_key
from sos.stream.codec import DecodeStatus, decode
from sos.stream.erasing import Return, returns
from sos.system import System

AT_ONCE = 32  # tokens that are written before it is looked whether a branch was left: those behind a return are lost


@dataclass
class _Open:
    """An answer that is being written."""

    number: int
    whole: np.ndarray  # int32: all that was written, the prompt in front
    seen: np.ndarray  # int32: what is left of it
    num_prompt: int
    logprobs: list[np.ndarray] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)  # see `Rollout.spans`
    num_erased: int = 0  # returns behind which something was erased
    readable: bool = True
    finished: bool = False

    def add(self, answer: Rollout, system: System) -> None:
        """Take what was written, up to the first return from a branch, and erase the branch."""
        new = answer.tokens[answer.num_prompt :]
        written = np.concatenate([self.whole, new])
        back = self._back(system, written)
        num = len(new) if back is None else back.stop - len(self.whole)
        self.logprobs.append(answer.logprobs[:num])
        self.spans.append((len(self.seen), len(new)))
        self.whole = written[: len(self.whole) + num]
        self.finished = back is None and answer.finished
        if back is None:
            self.seen = np.concatenate([self.seen, new])
        else:
            self.seen, self.num_erased = self.whole[back.kept], self.num_erased + 1

    def _back(self, system: System, written: np.ndarray) -> Return | None:
        """Return the next return behind which something is erased, if more was written than it."""
        if not self.readable:
            return None
        read = decode(system.dialect, system.env, written)
        found = returns(read.trace, read.align)[self.num_erased :]
        over = [back for back in found[:1] if len(self.whole) < back.stop < read.position]
        self.readable = bool(over) or read.status in (DecodeStatus.OK, DecodeStatus.TRUNCATED)
        return over[0] if over else None

    def result(self) -> Rollout:
        """Return the whole answer."""
        logprobs = np.concatenate([np.zeros(0, np.float32), *self.logprobs])
        return Rollout(self.whole, self.num_prompt, self.finished, logprobs, tuple(self.spans))


def roll(
    system: System, model: GPT, prompts: list[np.ndarray], *, max_tokens: int | None, **options: Any
) -> list[Rollout]:
    """Continue all prompts like `sos.model.rollout.rollout`, whose other arguments these are, with finished branches
    erased where the streams of the system are.

    `max_tokens` None takes what the context leaves, of a whole stream. A drawn token depends on what was written before
    it, and on its problem and sample, as without erasing.
    """
    most = system.context if max_tokens is None else max_tokens
    if not system.erase:
        return rollout(model, prompts, max_tokens=most, **options)
    return _roll_pieces(system, model, prompts, min(most, system.context), options)


def _roll_pieces(
    system: System, model: GPT, prompts: list[np.ndarray], most: int, options: dict[str, Any]
) -> list[Rollout]:
    progress, until, seed = (options.get(name) for name in ("progress", "until", "seed"))
    answers = [
        _Open(k, prompt.astype(np.int32), prompt.astype(np.int32), len(prompt)) for k, prompt in enumerate(prompts)
    ]
    indices = {name: options.get(name) for name in ("problem_indices", "sample_indices")}
    if indices["problem_indices"] is None:
        indices["problem_indices"] = np.arange(len(prompts))
    going, turn = answers, 0
    while going:
        limits = [min(AT_ONCE, most - len(one.whole) + one.num_prompt) for one in going]
        numbers = [one.number for one in going]
        chosen = options | {name: None if found is None else found[numbers] for name, found in indices.items()}
        # A piece may begin where an earlier one did: every turn draws its own numbers.
        chosen |= {
            "seed": int(stream_key(seed or 0, f"piece {turn}")),
            "progress": None,
            "until": until if turn == 0 else None,
        }
        written = rollout(model, [one.seen for one in going], max_tokens=np.array(limits), **chosen)
        if len(written) < len(going):  # a limit of seconds left the last ones out
            answers = going = going[: len(written)]
        for one, answer in zip(going, written, strict=True):
            one.add(answer, system)
        going = [one for one in going if _goes_on(one, most, model.config.context)]
        turn += 1
        if progress is not None:
            progress(len(answers) - len(going), len(prompts))
    return [one.result() for one in answers]


def _goes_on(one: _Open, most: int, context: int) -> bool:
    return not one.finished and len(one.whole) - one.num_prompt < most and len(one.seen) < context


def held(answers: Sequence[Rollout]) -> np.ndarray:
    """Return how many tokens the model had before it at most in each answer, int64 (R,)."""
    return np.array([max([old + new for old, new in one.spans] or [len(one.tokens)]) for one in answers], np.int64)
