"""Context distillation: a teacher that is the same model behind a context (arXiv 2601.18734 and others).

The student writes rollouts without a context. The teacher reads `<bos> context problem` and the same written tokens,
and its next-token distributions are what the student is moved towards, token by token. So no reward is needed: all that
the teacher knows more is what the context says. It is the start (`fixed`), a moving average of the student (`ema`), or
the student as it is (`live`).

Contexts are those of evaluations (`sos.data.contexts`): which one a problem of a round has is a function of the seed,
the round and the problem. A problem without a plan has none, nor has one that its context would leave no room to search
in; both are counted. What of a rollout does not fit behind its context is left out of the loss on both sides, and
counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sos.data.contexts import NOTHING
from sos.errors import UserError
from sos.improve.rows import Kept
from sos.improve.task import Task
from sos.judge.contexts import contexts_of
from sos.model.gpt import GPT
from sos.model.rollout import Rollout
from sos.model.shape import GPTConfig
from sos.schema.improve import ImproveConfig
from sos.schema.improve_words import EMA, FIXED
from sos.schema.slot import NEEDED, kind_of_context
from sos.schema.slot import NONE as NO_CONTEXT
from sos.stream.codec import encode_prompt

LOOKED_AT = 64  # problems of the first round whose contexts are made before a training


class Contexts(NamedTuple):
    """What stands before the problems of a round. P = problems."""

    tokens: list[np.ndarray]  # int64 (T,) each, none for a problem without a context
    no_plan: np.ndarray  # bool (P,): there is nothing to hint at
    no_room: np.ndarray  # bool (P,): the context would leave no room for a search

    def metrics(self) -> dict[str, float]:
        """Return what is worth logging: shares of the problems, and the mean length over all of them."""
        return {
            "no_plan": float(self.no_plan.mean()),
            "no_room": float(self.no_room.mean()),
            "context_tokens": float(np.mean([len(tokens) for tokens in self.tokens])),
        }


def make_contexts(task: Task, problems: np.ndarray, number: int) -> Contexts:
    """Return the contexts of the problems of round `number`, int32 (P, W), of the name `improve.context`."""
    name, system = task.options.context, task.system
    if name == NO_CONTEXT:
        none = np.zeros(len(problems), bool)
        return Contexts([NOTHING] * len(problems), none, none)
    # Each round is a stream of its own, so that its foreign problems are, too.
    found = contexts_of(system, problems, name, task.seed, f"practice {number}")
    lengths = np.array([len(tokens) for tokens in found])
    prompts = np.array([len(encode_prompt(system.dialect, problem, ())) for problem in problems])
    no_room = (lengths > 0) & (prompts + lengths >= system.context)
    tokens = [NOTHING if full else tokens for tokens, full in zip(found, no_room, strict=True)]
    return Contexts(tokens, lengths == 0, no_room)


def check_context(task: Task, problems: np.ndarray) -> None:
    """Raise UserError where the contexts of a stage cannot be made for problems of its first round: no problem with a
    plan, or a context that leaves no room for a search."""
    name, system = task.options.context, task.system
    if name == NO_CONTEXT:
        return
    found = make_contexts(task, problems, 0)
    if found.no_plan.all():
        needed = NEEDED[kind_of_context(name)]
        raise UserError(f"improve.context={name}: none of {len(problems)} training problems has {needed}")
    if found.no_room.any():
        raise UserError(
            f"improve.context={name}: of {len(problems)} training problems {int(found.no_room.sum())} have a context "
            f"that leaves no room for a search in data.context={system.context}"
        )


def without_context(rollout: Rollout, taken: int) -> Rollout:
    """Return a rollout without the `taken` tokens of its context: what is learned from it."""
    if not taken:
        return rollout
    tokens = np.concatenate([rollout.tokens[:1], rollout.tokens[1 + taken :]])
    return replace(rollout, tokens=tokens, num_prompt=rollout.num_prompt - taken)


def behind_contexts(kept: Kept, contexts: Sequence[np.ndarray], context: int) -> tuple[Kept, float]:
    """Return rollouts with `behind`, the same ones each behind its context, and the share of the written tokens that
    does not fit there; it is cut from both, so that what is written in both is the same.

    Args:
        contexts: the tokens of that of each rollout, int (T,) each; with its prompt it leaves room.
        context: the positions of a row, into which a stream of one token more fits.
    """
    lengths = np.diff(kept.offsets) - kept.prompts
    taken = np.array([len(tokens) for tokens in contexts], np.int64)
    fitting = np.minimum(lengths, context + 1 - kept.prompts - taken)
    assert (fitting > 0).all()
    starts = kept.offsets[:-1]
    stops = starts + kept.prompts + fitting
    places = np.concatenate([np.arange(start, stop) for start, stop in zip(starts, stops, strict=True)])
    offsets = np.concatenate([[0], np.cumsum(stops - starts)])
    columns: dict[str, Any] = {
        name: None if column is None else column[places] for name, column in kept.columns().items() if name != "tokens"
    }
    student = kept._replace(tokens=kept.tokens[places], offsets=offsets, **columns)
    parts = []
    for start, stop, tokens in zip(offsets, offsets[1:], contexts, strict=False):
        parts += [student.tokens[start : start + 1], tokens, student.tokens[start + 1 : stop]]
    behind = Kept(
        np.concatenate(parts).astype(kept.tokens.dtype),
        offsets + np.concatenate([[0], np.cumsum(taken)]),
        kept.prompts + taken,
        kept.weights,
    )
    return student._replace(behind=behind), 1 - float(fitting.sum() / max(1, lengths.sum()))


class Teacher(nn.Module):
    """The model that is distilled from. Its `state_dict` holds the weights of an `ema`, and nothing of the others: the
    start is read again, and a live one is the student."""

    def __init__(self, config: GPTConfig, options: ImproveConfig, start: dict[str, Tensor]) -> None:
        super().__init__()
        self.kind, self.rate = options.teacher, options.teacher_rate
        self.average: GPT | None = None
        self._start: list[GPT] = []  # in a list, a module is none of the parts that are saved
        if self.kind in (EMA, FIXED):
            model = GPT(config).requires_grad_(False)
            model.load_state_dict(start)
            if self.kind == EMA:
                self.average = model
            else:
                self._start.append(model)

    @torch.no_grad()
    def follow(self, student: GPT) -> None:
        """Move an `ema` a step towards the student. It is called before a step, so that a checkpoint, which is written
        after one, holds what the next step begins with; before the first one it changes nothing."""
        if self.average is not None:
            torch._foreach_lerp_(list(self.average.parameters()), list(student.parameters()), self.rate)

    @torch.no_grad()
    def logits(self, student: GPT, tokens_BC: Tensor, positions_BC: Tensor, doc_ids_BC: Tensor) -> Tensor:
        """Return the teacher's logits in packed rows, (B, C, V), without dropout."""
        model = student
        if self.average is not None:
            model = self.average
        elif self._start:
            model = self._start[0].to(student.device)
        training = model.training
        model.eval()
        found: Tensor = model(tokens_BC, positions_BC, doc_ids_BC)
        model.train(training)
        return found
