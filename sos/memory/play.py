"""One arm on one stream of tasks: retrieve, answer, judge, extract, append.

Tasks are answered in blocks, so that a model has many to answer at once: what a block shows comes from the blocks
before it, and what it leaves is appended in the order of its tasks. Answers are greedy and a function of their prompts,
so that an answer to a prompt that was answered before is taken from there. Where an arm makes several attempts, they
are drawn, and functions of their prompt, the stream's seed, the task and the number of the attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sos.context.forms import write_context
from sos.context.items import Item, lesson_item, no_actions
from sos.context.lessons import NO_CLASS, contrast, mine
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
    temperature: float = 0.8  # of several attempts
    known: dict[tuple[bytes, int, int, int], Answer] = field(default_factory=dict)

    def answer(self, problems: Sequence[np.ndarray], contexts: Sequence[np.ndarray]) -> list[Answer]:
        """Return the greedy answers to problems behind contexts (int64 tokens (T,) each)."""
        return self._answered(problems, contexts, [(0, 0, -1)] * len(problems), 0.0)

    def attempts(
        self, problems: Sequence[np.ndarray], contexts: Sequence[np.ndarray], seed: int, first: int, num: int
    ) -> list[list[Answer]]:
        """Return `num` answers to each of the problems, which are tasks `first`, ... of the stream of a seed: the
        greedy one, or several that are drawn."""
        if num == 1:
            return [[answer] for answer in self.answer(problems, contexts)]
        draws = [(seed, first + k, sample) for k in range(len(problems)) for sample in range(num)]
        every = [[part for part in parts for _ in range(num)] for parts in (problems, contexts)]
        answers = self._answered(every[0], every[1], draws, self.temperature)
        return [answers[k : k + num] for k in range(0, len(answers), num)]

    def _answered(
        self,
        problems: Sequence[np.ndarray],
        contexts: Sequence[np.ndarray],
        draws: Sequence[tuple[int, int, int]],
        temperature: float,
    ) -> list[Answer]:
        """Return the answers with these draws: (seed, task, attempt) each, of one seed."""
        dialect = self.system.dialect
        prompts = [
            np.array(encode_prompt(dialect, problem, context), np.int32)
            for problem, context in zip(problems, contexts, strict=True)
        ]
        names = [(prompt.tobytes(), *draw) for prompt, draw in zip(prompts, draws, strict=True)]
        new = {name: k for k, name in enumerate(names) if name not in self.known}
        if new:
            rollouts = rollout(
                self.model,
                [prompts[k] for k in new.values()],
                max_tokens=self.model.config.context if self.max_tokens is None else self.max_tokens,
                temperature=temperature,
                seed=int(stream_key(draws[0][0], "memory attempts")),
                problem_indices=np.array([draws[k][1] for k in new.values()], np.int64),
                sample_indices=np.array([max(0, draws[k][2]) for k in new.values()], np.int64),
            )
            for (name, k), found in zip(new.items(), rollouts, strict=True):
                verdict, trace, _ = verify_tokens(dialect, self.system.env, problems[k], found.tokens)
                trace = trace._replace(problem=np.asarray(problems[k], np.int32))
                self.known[name] = Answer(verdict, trace, len(found.tokens) - found.num_prompt)
        return [self.known[name] for name in names]


class Played(NamedTuple):
    """What an arm did, task by task. N = tasks."""

    solved: np.ndarray  # bool (N,): as it is; of several attempts the first that the judge accepts, or else the first
    judged: np.ndarray  # bool (N,): as the judge said of this one
    tokens: np.ndarray  # int64 (N,): generated, by all attempts together
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
        every = player.attempts([task.problem for task in part], contexts, seed, first, arm.attempts)
        added = []
        for k, (task, answers, key) in enumerate(zip(part, every, of, strict=True)):
            says = [said_of(arm, answer, key, number) for number, answer in enumerate(answers)]
            chosen = says.index(True) if True in says else 0
            fits = any(any_applies(record.items, features[k]) for record in near[k])
            written = sum(answer.tokens for answer in answers)
            found.append((bool(answers[chosen].verdict.solved), says[chosen], written, len(contexts[k]), fits))
            query = encode_prompt(dialect, task.problem, ())[1:]
            for said, items in left_by(player, arm, task, answers, says):
                if items:
                    added.append(record_of(dialect, f"{seed}-{first + k}", task.problem, query, said, items))
        memory += added
        if file is not None:
            append(file, dialect, added)
        if progress is not None:
            progress(min(len(tasks), first + block))
    solved, judged, tokens, taken, applied = [np.array(column) for column in zip(*found, strict=True)]
    return Played(solved, judged, tokens, taken, applied, memory)


def said_of(arm: Arm, answer: Answer, key: np.uint64, number: int) -> bool:
    """Return what the judge says of attempt `number` at a task."""
    own = np.uint64(fold(key, number)) if number else key
    return bool(answer.verdict.solved) != (float(uniform(own, FLIP)) < arm.flips)


def left_by(
    player: Player, arm: Arm, task: Task, answers: Sequence[Answer], says: Sequence[bool]
) -> list[tuple[bool, list[Item]]]:
    """Return what the attempts at a task leave in an arm's memory, a record each, or one where they leave it together:
    what the judge said, and the items."""
    if not arm.contrast:
        return [(said, extract(player, arm, task, answer, said)) for answer, said in zip(answers, says, strict=True)]
    env, told = player.system.env, [k for k, answer in enumerate(answers) if len(answer.trace.events)]
    lessons = contrast(env, [answers[k].trace for k in told], [says[k] for k in told])
    return [(any(says), [lesson_item(env, lesson) for lesson in lessons])]


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
