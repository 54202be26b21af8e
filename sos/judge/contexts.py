"""Evaluations with a context: what stands before the problems, and how much it says of their plans.

The information of a context about the plan is measured by the model itself: how much less the stream of the solution
path costs it, in nats, with the context than without. The stream begins behind the problem and has no wrong turn; where
streams are bare plans, it is the plan.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np
import torch

from sos.context.draws import Asked
from sos.context.forms import write_context
from sos.context.items import outcome_item
from sos.data.contexts import NOTHING, ContextSource
from sos.data.lessons import LessonSource
from sos.data.streams import Writer
from sos.data.traces import Order
from sos.errors import UserError
from sos.judge.metrics import Metric, mean_metric, ratio_metric
from sos.model.gpt import GPT
from sos.schema.slot import CONTEXTS, LESSON, NEEDED, NONE, OUTCOME, SUCCESS, kind_of_context
from sos.search.rows import Drawn, Searcher
from sos.stream.codec import encode_prompt
from sos.stream.views import PLAN_ONLY, SOLUTION_PATH, View
from sos.system import System

log = logging.getLogger(__name__)

MOST_PLANS = 200  # whose nats are measured


class Posed(NamedTuple):
    """Problems of a split as a model gets them. P = problems."""

    label: str  # of the metrics: the split, and the context behind a dot where there is one
    split: str
    problems: np.ndarray  # int32 (P, W)
    contexts: list[np.ndarray]  # tokens, int64 (T,) each
    prompts: list[np.ndarray]  # int32

    def first(self, num: int) -> Posed:
        """Return the first `num` problems."""
        return self._replace(problems=self.problems[:num], contexts=self.contexts[:num], prompts=self.prompts[:num])

    @property
    def taken(self) -> np.ndarray:
        """The tokens of each context, int64 (P,)."""
        return np.array([len(context) for context in self.contexts], np.int64)


def contexts_of(system: System, problems: np.ndarray, name: str, seed: int, stream: str) -> list[np.ndarray]:
    """Return the context of a name, one of `sos.schema.slot.CONTEXTS`, for each of the problems, int32 (P, W): its
    tokens, none where a problem has no such context. A pure function of the seed, the name of the stream and the
    problem's place in it."""
    asked = Asked(*CONTEXTS[name])
    if asked.dose == OUTCOME:
        return [write_context(system.dialect, [outcome_item(system.env, asked.whose == SUCCESS)])] * len(problems)
    kind: type[ContextSource | LessonSource] = LessonSource if kind_of_context(name) == LESSON else ContextSource
    source = kind(
        system.env,
        system.strategy,
        system.dialect,
        system.splits,
        max_nodes=system.max_nodes,
        seed=seed,
        stream=stream,
        plan=system.slot,
    )
    return source.of_problems(problems, asked)


def pose(system: System, split: str, problems: np.ndarray, context: str, seed: int) -> Posed:
    """Put the context of a name, an entry of `eval.context`, before problems. Raises UserError for a context that
    leaves no room for a search, and where no problem has one."""
    slot, label = system.dialect.slot, split
    contexts = [NOTHING if slot is None else np.array(slot.asks, np.int64)] * len(problems)
    if context != NONE:
        label = f"{split}.{context}"
        contexts = contexts_of(system, problems, context, seed, split)
        without = sum(not len(tokens) for tokens in contexts)
        if without == len(problems):
            needed = NEEDED[kind_of_context(context)]
            raise UserError(f"eval.context={context}: none of {without} problems of split {split} has {needed}")
        if without:
            log.warning(
                "eval.context=%s: %d of %d problems of split %s have no plan, and no context",
                context,
                without,
                len(problems),
                split,
            )
    prompts = [
        np.array(encode_prompt(system.dialect, problem, tokens), np.int32)
        for problem, tokens in zip(problems, contexts, strict=True)
    ]
    for k, (prompt, tokens) in enumerate(zip(prompts, contexts, strict=True)):
        if len(tokens) and len(prompt) >= system.context:
            raise UserError(
                f"eval.context={context}: the context of problem {k} of split {split} has {len(tokens)} tokens, which "
                f"leaves no room for a search in data.context={system.context}"
            )
    return Posed(label, split, problems, contexts, prompts)


def _plan_streams(system: System, problems: np.ndarray) -> dict[int, tuple[np.ndarray, int]]:
    """Return the stream of the solution path and its prompt tokens, by the number of the problem that has one."""
    kind = PLAN_ONLY if system.view.kind == PLAN_ONLY else SOLUTION_PATH
    order, size = Order(0, np.uint64(0)), len(problems)
    view = View(kind, 1.0, system.view.plan)
    writer = Writer(
        system.env, view, system.dialect, context=system.context, max_nodes=system.max_nodes, seed=0, order=order
    )
    searcher = Searcher(system.env, system.strategy, system.max_nodes)
    rows, num, _ = searcher.search(Drawn(0, problems, np.arange(size), np.zeros(size, np.int32)))
    chunk, _ = writer.write(rows, num, 0)
    streams = zip(chunk.visits.tolist(), chunk.offsets, chunk.offsets[1:], chunk.prompts.tolist(), strict=False)
    return {visit: (chunk.tokens[start:stop].astype(np.int64), prompt) for visit, start, stop, prompt in streams}


def plan_losses(model: GPT, system: System, posed: Posed) -> np.ndarray:
    """Return what the solution path of each problem costs the model, float64 (P', 3): nats with the context, without
    it, and the tokens. P' = those of the first `MOST_PLANS` problems that have a path that fits, both ways."""
    found = []
    for k, (stream, prompt) in sorted(_plan_streams(system, posed.problems[:MOST_PLANS]).items()):
        context = posed.contexts[k]
        if len(stream) + len(context) > system.context:
            continue
        without = _nats(model, stream, prompt)
        behind = np.concatenate([stream[:1], context, stream[1:]])
        within = _nats(model, behind, prompt + len(context)) if len(context) else without
        found.append((within, without, len(stream) - prompt))
    return np.array(found, np.float64).reshape(-1, 3)


def _nats(model: GPT, tokens: np.ndarray, prompt: int) -> float:
    ids = torch.from_numpy(tokens)[None].to(model.device)
    with torch.inference_mode():
        logprobs = model(ids)[0, prompt - 1 : -1].float().log_softmax(-1)
    return -float(logprobs.gather(1, ids[0, prompt:, None]).sum())


def plan_metrics(model: GPT, system: System, posed: Posed) -> dict[str, Metric]:
    """Return what the plans cost, `plan_nll` a token; and, with a context, how many nats less a plan costs than without
    it, `plan_nats`, and the context's tokens."""
    losses = plan_losses(model, system, posed)
    if not len(losses):
        return {}
    metrics = {"plan_nll": ratio_metric(losses[:, 0], losses[:, 2])}
    if posed.label != posed.split:
        metrics |= {"plan_nats": mean_metric(losses[:, 1] - losses[:, 0]), "context_tokens": mean_metric(posed.taken)}
    return metrics
