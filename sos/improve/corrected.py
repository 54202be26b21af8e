"""Corrected answers: what the rules say in the place of a mistake, and the model writes on from there.

A group advantage blames all tokens of a wrong answer, most of which were right. The verifier knows more: which event is
the first that is wrong, and what would have been right there. So, for each answer with a mistake in it:

1. Cut it before its first wrong event.
2. Write there, in the words of the dialect, what is right: of a generated child the successor whose words begin most
   like those that were written (of several one that the search has not generated yet, the first in the order of
   generation); of a visit, a dead end or a goal what is true of the node.
3. The model writes on from there, and so on with its next mistake, which lies further on.

With `repeats` a step that the search took before at the same node is a mistake, too, though it breaks no rule: no
search here takes one twice, and a model that has lost count of what it tried takes it again and again. In its place
stands the first child, in the order of generation, that the node has not got.

No solution is looked at, only the rules: an answer stays the model's own search, its wrong turns included, without
false steps. It is learned at states that the model itself comes to, as in DAgger (Ross et al. 2011); the expert is the
verifier, and speaks where something is wrong. Where nothing can be said (a return to nowhere, words that nobody can
read, no room) the answer stays as it is, and after 32 corrections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sos.envs import protocol as environment
from sos.errors import UserError
from sos.improve.anew import joined, written_on
from sos.improve.attempts import canonical, root_of, successors_of
from sos.improve.task import Task
from sos.model.gpt import GPT
from sos.model.rollout import Rollout
from sos.schema.improve_words import REPEATS
from sos.stream.codec import encode
from sos.stream.verify import verify_tokens
from sos.system import System
from sos.trace import (
    ACTION,
    BUDGET,
    DEAD_END,
    END,
    EXPAND,
    GENERATE,
    GOAL,
    KIND,
    NODE,
    PARENT,
    Trace,
)

CLAIMS = (EXPAND, DEAD_END, GOAL)
Words = tuple[np.ndarray, np.ndarray]  # int32 tokens of an event, and of what follows it
MOST = 32  # corrections of an answer
_NONE = np.zeros(0, np.int32)


@dataclass
class Corrected:
    """Answers, those that were corrected among them."""

    rollouts: list[Rollout]
    corrections: np.ndarray  # int64 (N,): made in each
    right: np.ndarray  # bool (N,): solved and finished
    tokens: int = 0  # written on behind corrections


def corrected(
    system: System, problem: np.ndarray, tokens: np.ndarray, before: int = -1, *, repeats: bool = False
) -> tuple[np.ndarray, int] | None:
    """Return (tokens, cut): an answer up to its first mistake, with what is right in its place, and how many of its own
    tokens stay. None where there is no mistake, or nothing that can be said instead. `repeats` counts as mistakes what
    was done before.

    `before` is the cut of the correction before this one. Where it is the same, the model has gone on with the number
    that stood there as if it were not at its end: then the first token of what follows it is written, too.
    """
    verdict, trace, align = verify_tokens(system.dialect, system.env, problem, tokens)
    wrong = verdict.errors != 0
    again = first_repeat(trace) if repeats else -1
    if again >= 0:
        wrong[again] = True
    if not wrong.any():
        return None
    event = int(np.argmax(wrong))
    told = np.flatnonzero(align == event)
    if not len(told):
        return None
    cut, written = int(told[0]), tokens[told]
    for words, follows in _instead(system, trace, event, written if event != again else _NONE, repeats):
        if cut <= before:
            if not len(follows):
                return None
            words = np.append(words, follows[:1])
        if len(words):
            new = np.concatenate([tokens[:cut], words]).astype(np.int32)
            errors = verify_tokens(system.dialect, system.env, problem, new)[0].errors
            if len(errors) > event and not errors.any():
                return new, cut
    return None


def first_repeat(trace: Trace) -> int:
    """Return the first event that generates a child by an action by which its parent has one already, -1 without."""
    seen = set()
    for event, (kind, node, *_) in enumerate(trace.events.tolist()):
        if kind == GENERATE:
            step = int(trace.nodes[node, PARENT]), trace.nodes[node, ACTION:].tobytes()
            if step in seen:
                return event
            seen.add(step)
    return -1


def _instead(system: System, trace: Trace, event: int, written: np.ndarray, is_new: bool) -> list[Words]:
    """Return the words of what may stand in the place of an event, the best first, and what follows each. What `is_new`
    was not done before."""
    kind, node = int(trace.events[event, KIND]), int(trace.events[event, NODE])
    states = _true_states(system, trace, event)
    if kind == GENERATE and int(trace.nodes[node, PARENT]) in states:
        return _children(system, trace, event, states, written, is_new)
    if kind not in CLAIMS or node not in states:
        return []
    claim = _claim(system, trace.problem, states[node])
    return [_words(system, trace, event, [claim], trace.nodes, states[node])]


def _true_states(system: System, trace: Trace, event: int) -> dict[int, np.ndarray]:
    """Return the states of the nodes that were generated before an event up to which nothing is wrong."""
    states = {0: root_of(system, trace.problem)}
    for kind, node, *_ in trace.events[:event].tolist():
        if kind == GENERATE:
            row = trace.nodes[node]
            child = np.zeros_like(states[0])
            held = environment.judge(system.env, trace.problem, states[int(row[PARENT])], row[ACTION:], child)
            assert held == environment.HOLDS
            states[node] = child
    return states


def _children(
    system: System, trace: Trace, event: int, states: dict[int, np.ndarray], written: np.ndarray, is_new: bool
) -> list[Words]:
    """Return the words of all children of the node that an event generates one of, or of those alone that it has not
    got, those first that begin most like what was written."""
    node = int(trace.events[event, NODE])
    parent = int(trace.nodes[node, PARENT])
    got = {trace.nodes[k, ACTION:].tobytes() for k in states if k > 0 and trace.nodes[k, PARENT] == parent}
    made = {canonical(system, trace.problem, state) for state in states.values()}
    found = []
    for order, child in enumerate(successors_of(system, trace.problem, states[parent])):
        if is_new and child.action.tobytes() in got:
            continue
        nodes = trace.nodes[: node + 1].copy()
        nodes[node, ACTION:] = child.action
        told = [(GENERATE, 0), _claim(system, trace.problem, child.state)]
        words = _words(system, trace, event, told, nodes, child.state)
        found.append((-_common(words[0], written), child.key in made, order, words))
    return [words for *_, words in sorted(found, key=lambda option: option[:3])]


def _claim(system: System, problem: np.ndarray, state: np.ndarray) -> tuple[int, int]:
    """Return what is true of a state, (kind, value): a visit, or a dead end or a goal with its number."""
    status = environment.status(system.env, problem, state)
    kind = {environment.OPEN: EXPAND, environment.GOAL: GOAL, environment.DEAD: DEAD_END}[status]
    return kind, 0 if kind == EXPAND else int(environment.witness(system.env, problem, state))


def _words(
    system: System, trace: Trace, event: int, told: list[tuple[int, int]], nodes: np.ndarray, state: np.ndarray
) -> Words:
    """Return the tokens of the first of the events that are `told`, (kind, value) each, of the node that `event` speaks
    of, behind the events before it, and those of the other ones. A dialect may ask what follows before it writes an
    event."""
    node, row = int(trace.events[event, NODE]), len(trace.states)
    more = [[kind, node, row, value, 0] for kind, value in told] + [[END, -1, -1, BUDGET, 0]]
    events = np.concatenate([trace.events[:event], np.array(more, np.int32)])
    whole = Trace(trace.problem, events, nodes, np.concatenate([trace.states, state[None]]))
    try:
        tokens, align, _ = encode(system.dialect, whole)
    except UserError:
        return _NONE, _NONE  # the dialect has no words for it here, as where it says no visits
    return tokens[align == event], tokens[(align > event) & (align < len(events) - 1)]


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """Return how many tokens two texts have in common from their beginning."""
    num = min(len(a), len(b))
    differ = np.flatnonzero(a[:num] != b[:num])
    return int(differ[0]) if len(differ) else num


def correct(task: Task, model: GPT, problems: np.ndarray, rollouts: Sequence[Rollout], number: int) -> Corrected:
    """Return the answers of round `number` (N) to its problems, int32 (P, W), with their mistakes corrected.

    Answers to one problem lie together. Draws are functions of the seed, the round, the answer and the correction.
    Log-probabilities of corrections are NaN.
    """
    system, group, repeats = task.system, task.options.group, task.options.corrected == REPEATS
    found = Corrected(list(rollouts), np.zeros(len(rollouts), np.int64), np.zeros(len(rollouts), bool))
    before = [-1] * len(rollouts)
    left = list(range(len(rollouts)))
    while left:
        going: list[int] = []
        prompts: list[np.ndarray] = []
        cuts: list[int] = []
        for i in left:
            new = corrected(system, problems[i // group], found.rollouts[i].tokens, before[i], repeats=repeats)
            if new is not None and len(new[0]) < system.context and found.corrections[i] < MOST:
                going, prompts, cuts = [*going, i], [*prompts, new[0]], [*cuts, new[1]]
                before[i] = new[1]
        stream = "practice corrected"
        more = written_on(task, model, prompts, going, number=number, turns=found.corrections, stream=stream)
        for i, cut, prompt, on in zip(going, cuts, prompts, more, strict=True):
            found.rollouts[i] = joined(found.rollouts[i], cut, len(prompt), on)
            found.corrections[i] += 1
            found.tokens += len(on.tokens) - len(prompt)
        left = going
    for i, answer in enumerate(found.rollouts):
        verdict, _, _ = verify_tokens(system.dialect, system.env, problems[i // group], answer.tokens)
        found.right[i] = verdict.solved and answer.finished
    return found
