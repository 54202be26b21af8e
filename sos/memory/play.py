"""One arm on one stream of tasks: retrieve, answer, judge, extract, append.

Tasks are answered in blocks, so that a model has many to answer at once: what a block shows comes from the blocks
before it, and what it leaves is appended in the order of its tasks. Answers are greedy and a function of their prompts,
so that an answer to a prompt that was answered before is taken from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sos.context.forms import write_context
from sos.context.items import Item, lesson_item, no_actions
from sos.context.lessons import NO_CLASS, mine
from sos.envs.lessons import features_of
from sos.errors import UserError
from sos.memory.arms import FLIP, NOTHING, Arm, any_applies, retrieve, shown
from sos.memory.records import Record, append, record_of
from sos.memory.tasks import Task
from sos.model.gpt import GPT
from sos.model.rollout import rollout
from sos.rng import fold, stream_key, uniform
from sos.schema.slot import DEMONSTRATION, LESSON
from sos.stream.codec import encode, encode_prompt
from sos.stream.verify import Verdict, verify_tokens
from sos.stream.viewing import view_trace
from sos.stream.views import SOLUTION_PATH, View
from sos.system import System
from sos.trace import BUDGET, END, KIND, Trace

LEAST_ROOM = 64  # tokens that a context leaves for the answer, at least


class Answer(NamedTuple):
    """A rollout with its verdict."""

    verdict: Verdict
    trace: Trace  # of what it claims
    tokens: int  # generated


@dataclass
class Player:
    """A model and what it answers with; answers to the same prompt are given once."""

    model: GPT
    system: System
    most_lessons: int
    max_tokens: int | None = None
    known: dict[bytes, Answer] = field(default_factory=dict)

    def answer(self, problems: Sequence[np.ndarray], contexts: Sequence[np.ndarray]) -> list[Answer]:
        """Return the greedy answers to problems behind contexts (int64 tokens (T,) each)."""
        dialect = self.system.dialect
        prompts = [
            np.array(encode_prompt(dialect, problem, context), np.int32)
            for problem, context in zip(problems, contexts, strict=True)
        ]
        new = {prompt.tobytes(): k for k, prompt in enumerate(prompts) if prompt.tobytes() not in self.known}
        most = self.model.config.context if self.max_tokens is None else self.max_tokens
        rollouts = rollout(self.model, [prompts[k] for k in new.values()], max_tokens=most) if new else []
        for (name, k), found in zip(new.items(), rollouts, strict=True):
            verdict, trace, _ = verify_tokens(dialect, self.system.env, problems[k], found.tokens)
            trace = trace._replace(problem=np.asarray(problems[k], np.int32))
            self.known[name] = Answer(verdict, trace, len(found.tokens) - found.num_prompt)
        return [self.known[prompt.tobytes()] for prompt in prompts]


class Played(NamedTuple):
    """What an arm did, task by task. N = tasks."""

    solved: np.ndarray  # bool (N,): as it is
    judged: np.ndarray  # bool (N,): as the judge said
    tokens: np.ndarray  # int64 (N,): generated
    context_tokens: np.ndarray  # int64 (N,)
    applied: np.ndarray  # bool (N,): a lesson was shown whose condition the task has
    records: list[Record]  # the memory at the end


def play(
    player: Player,
    tasks: Sequence[Task],
    arm: Arm,
    *,
    seed: int,
    block: int,
    records: Sequence[Record] = (),
    file: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Played:
    """Play a stream from its first task to its last, beginning with a memory of `records`; what is appended to it goes
    to `file`, too. `progress` is called with how many tasks are done."""
    env, dialect = player.system.env, player.system.dialect
    memory, fresh = list(records), stream_key(seed, "memory draws")
    found: list[tuple[bool, bool, int, int, bool]] = []
    keys = [np.uint64(fold(fresh, k)) for k in range(len(tasks))]
    shuffle = stream_key(seed, "memory classes")
    for first in range(0, len(tasks), block):
        part, of = tasks[first : first + block], keys[first : first + block]
        features = [features_of(env, task.problem) for task in part]
        near = [retrieve(arm, memory, has, key) for has, key in zip(features, of, strict=True)]
        contexts = [
            shown(dialect, arm, some, player.most_lessons, _room(player, task.problem), shuffle)
            for task, some in zip(part, near, strict=True)
        ]
        answers = player.answer([task.problem for task in part], contexts)
        added = []
        for k, (task, answer, key) in enumerate(zip(part, answers, of, strict=True)):
            right = bool(answer.verdict.solved)
            said = right != (float(uniform(key, FLIP)) < arm.flips)
            fits = any(any_applies(record.items, features[k]) for record in near[k])
            found.append((right, said, answer.tokens, len(contexts[k]), fits))
            items = extract(player, arm, task, answer, said)
            if items:
                query = encode_prompt(dialect, task.problem, ())[1:]
                added.append(record_of(dialect, f"{seed}-{first + k}", task.problem, query, said, items))
        memory += added
        if file is not None:
            append(file, dialect, added)
        if progress is not None:
            progress(min(len(tasks), first + block))
    solved, judged, tokens, taken, applied = [np.array(column) for column in zip(*found, strict=True)]
    return Played(solved, judged, tokens, taken, applied, memory)


def _room(player: Player, problem: np.ndarray) -> int:
    return player.system.context - len(encode_prompt(player.system.dialect, problem, ())) - LEAST_ROOM


def extract(player: Player, arm: Arm, task: Task, answer: Answer, judged: bool) -> list[Item]:
    """Return the items that an experience leaves in an arm's memory."""
    env = player.system.env
    kind = arm.success if judged else arm.failure
    if kind == NOTHING or not len(answer.trace.events):
        return []
    if kind == LESSON:
        solver = task.solver if arm.solver else NO_CLASS
        return [lesson_item(env, lesson) for lesson in mine(env, answer.trace, judged, solver)]
    trace: Trace | None = answer.trace
    if kind == DEMONSTRATION:
        trace = _path(player, answer)
    trace = None if trace is None else _cut(player, kind, trace)
    return [] if trace is None else [Item(kind, no_actions(env), trace)]


def _path(player: Player, answer: Answer) -> Trace | None:
    """Return the solution path of an answer, None where it holds none that is sound."""
    if not answer.verdict.solved or answer.verdict.errors.any():
        return None
    return view_trace(View(SOLUTION_PATH), player.system.env, answer.trace, max_nodes=len(answer.trace.nodes) + 1)


def _cut(player: Player, kind: str, trace: Trace) -> Trace | None:
    """Return a trace that ends, and whose stream takes no more than a third of the context: what is longer is cut
    behind an event, and ends for want of budget. None where the dialect has no words for it."""
    events, most = trace.events, player.system.context // 3
    ended = bool(len(events)) and events[-1, KIND] == END
    if not ended:
        trace = trace._replace(events=np.concatenate([events, _end(BUDGET)]))
    dialect, env = player.system.dialect, player.system.env
    try:
        tokens, align, _ = encode(dialect, trace)
        if len(tokens) > most:
            kept = max(1, int(align[most - 4]))
            trace = trace._replace(events=np.concatenate([trace.events[:kept], _end(BUDGET)]))
        item = Item(kind, no_actions(env), trace)
        return trace if len(write_context(dialect, [item])) <= most + 8 else None
    except UserError:  # a claim that the dialect has no words for, such as a return to a node that is not there
        return None


def _end(outcome: int) -> np.ndarray:
    return np.array([[END, -1, -1, outcome, 0]], np.int32)
