"""Recovery: a model is made to take one wrong step; does it come back, and solve its problem?

A search has a beginning, the model's own or the reference's, which ends with one step that generates a child. The
model writes on from three versions of it, which differ in this last step alone:

- `plain`: the step as it stands there.
- `wrong`: the same step with one token exchanged, so that the verifier finds a mistake in it (a wrong result, a
  number that is not there, an illegal action) and in nothing before it.
- `dead`: another child of the same node that has not been generated yet, rightly told, from which no goal can be
  reached. This is no mistake, and a search that backtracks loses nothing but time by it.

So `plain` minus `wrong` is what a mistake costs, and `plain` minus `dead` what a vain branch costs. A problem counts
once, with a step that has all three versions, drawn among those before the goal; a problem without one is left out.
Nothing here knows an environment's rules: the verifier decides what is wrong, and a walk over successors what is dead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.errors import UserError
from sos.improve.attempts import Successor, canonical, root_of, successors_of
from sos.rng import below, fold, permute, stream_key
from sos.search.rows import Searcher
from sos.search.run import search_one
from sos.stream.codec import DecodeStatus, encode
from sos.stream.verify import Error, Verdict, verify_tokens
from sos.stream.viewing import view_trace
from sos.stream.views import FULL
from sos.system import MAX_TRACE_NODES, System
from sos.trace import (
    ACTION,
    BACKTRACK,
    BUDGET,
    DEAD_END,
    END,
    EXPAND,
    FLAGS,
    FORCED_FLAG,
    GENERATE,
    GOAL,
    KIND,
    NODE,
    PARENT,
    STATE,
    VALUE,
    Trace,
)

PLAIN, WRONG, DEAD = STARTS = ("plain", "wrong", "dead")
MOST_STATES = 3000  # that are looked at before it stays unknown whether a goal can be reached
MOST_EXCHANGES = 300  # tokens that are tried in the place of one of a step


class Case(NamedTuple):
    """A problem with the three beginnings of a search for it."""

    number: int  # of the problem
    starts: dict[str, np.ndarray]  # by `STARTS`: int32 (T,), from `<bos>` to the last token of the step
    node: int  # that the step generates
    event: int  # the step
    error: Error  # what the verifier finds in the wrong one
    promising: bool  # a goal can be reached from where the plain one leads


class Search(NamedTuple):
    """A stream, read. T tokens."""

    problem: np.ndarray  # int32 (P,)
    tokens: np.ndarray  # int32 (T,)
    verdict: Verdict
    trace: Trace
    align: np.ndarray  # int32 (T,)

    @classmethod
    def read(cls, system: System, problem: np.ndarray, tokens: np.ndarray) -> Search:
        """Read a stream as an answer to `problem`."""
        return cls(problem, tokens, *verify_tokens(system.dialect, system.env, problem, tokens))

    def told_before(self, event: int) -> int:
        """The tokens up to the last one that tells an event before this one."""
        return int(np.flatnonzero((self.align >= 0) & (self.align < event))[-1]) + 1


def reaches_goal(system: System, problem: np.ndarray, state: np.ndarray, most: int = MOST_STATES) -> bool | None:
    """Say whether a goal can be reached from a state, int32 (W,); None where `most` states do not tell."""
    seen, stack = {canonical(system, problem, state)}, [state]
    while stack:
        at = stack.pop()
        if environment.status(system.env, problem, at) == environment.GOAL:
            return True
        for child in successors_of(system, problem, at):
            if child.key not in seen:
                if len(seen) >= most:
                    return None
                seen.add(child.key)
                stack.append(child.state)
    return False


def reference_streams(system: System, problems: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return the streams that a model of this system is trained on, for problems, int32 (P, W): int32 (T,) each, of no
    tokens where the search has too many nodes. Of a mixture it is the first strategy's. Raises UserError where the view
    needs a solution and a problem has none."""
    searcher, found = Searcher(system.env, system.strategy, system.max_nodes), []
    for number, problem in enumerate(problems):
        trace = search_one(searcher, problem)
        if trace is not None and system.view.kind != FULL:
            key = int(fold(stream_key(seed, "dose"), number))
            trace = view_trace(system.view, system.env, trace, key, MAX_TRACE_NODES)
        tokens = np.zeros(0) if trace is None else encode(system.dialect, trace)[0]
        found.append(tokens.astype(np.int32))
    return found


def cases_of(system: System, problems: np.ndarray, streams: Sequence[np.ndarray], seed: int) -> list[Case]:
    """Return the cases of problems, int32 (P, W), from a stream of each, int32 (T,); those of the problems that have
    one. Which step is taken, and what stands in its place, is a function of the seed and the problem's number."""
    found = []
    for number, (problem, tokens) in enumerate(zip(problems, streams, strict=True)):
        key = np.uint64(fold(stream_key(seed, "recovery"), number))
        case = case_of(system, number, Search.read(system, problem, np.asarray(tokens, np.int32)), key)
        found += [] if case is None else [case]
    return found


def case_of(system: System, number: int, search: Search, key: np.uint64) -> Case | None:
    """Return the case that a search gives, None where no step of it has all three versions."""
    steps = _steps(search)
    for k in range(len(steps)):
        event = steps[permute(key, k, len(steps))]
        own = np.uint64(fold(key, event))
        node, before = int(search.trace.events[event, NODE]), search.told_before(event)
        behind = search.told_before(event + 1)
        parent = _state_of(system, search.trace, int(search.trace.nodes[node, PARENT]))
        vain = _vain_child(system, search, event, parent, own)
        words = None if vain is None else _told(system, search, event, vain)
        exchanged = None if words is None else _exchanged(system, search, event, (before, behind), own)
        if words is None or exchanged is None:
            continue
        child = _state_of(system, search.trace, node)
        plain = search.tokens[:behind]
        starts = {PLAIN: plain, WRONG: exchanged[0], DEAD: np.concatenate([plain[:before], words])}
        return Case(number, starts, node, event, exchanged[1], reaches_goal(system, search.problem, child) is True)
    return None


def _steps(search: Search) -> list[int]:
    """Return the events of a search that generate the next node, before its first mistake and its goal."""
    kinds, nodes = search.trace.events[:, KIND], search.trace.events[:, NODE]
    wrong = np.flatnonzero(search.verdict.errors)
    goals = np.flatnonzero(kinds == GOAL)
    stop = min([len(kinds), *wrong[:1].tolist(), *goals[:1].tolist()])
    found, known = [], 1
    for event in np.flatnonzero(kinds[:stop] == GENERATE).tolist():
        if int(nodes[event]) == known and (search.align == event).any():
            found.append(event)
        known = max(known, int(nodes[event]) + 1)
    return found


def _state_of(system: System, trace: Trace, node: int) -> np.ndarray:
    """Return the true state of a node to which actions that hold lead, int32 (W,)."""
    path = []
    while node > 0:
        path.append(node)
        node = int(trace.nodes[node, PARENT])
    state = root_of(system, trace.problem)
    for at in path[::-1]:
        child = np.zeros_like(state)
        environment.judge(system.env, trace.problem, state, trace.nodes[at, ACTION:], child)
        state = child
    return state


def _vain_child(system: System, search: Search, event: int, parent: np.ndarray, key: np.uint64) -> Successor | None:
    """Return a child of `parent` with successors and without a goal below it, whose state no event up to this one
    generates; None where there is none."""
    told = search.trace.events[: event + 1]
    nodes = told[told[:, KIND] == GENERATE, NODE].tolist()
    problem = search.problem
    known = {canonical(system, problem, _state_of(system, search.trace, node)) for node in nodes}
    children = successors_of(system, problem, parent)
    for k in range(len(children)):
        child = children[permute(key, k, len(children))]
        is_open = environment.status(system.env, problem, child.state) == environment.OPEN
        if is_open and child.key not in known and reaches_goal(system, problem, child.state) is False:
            return child
    return None


def _told(system: System, search: Search, event: int, child: Successor) -> np.ndarray | None:
    """Return the words of a step that generates `child` in the place of an event, int32 (L,); None where the dialect
    has none, or where they are not read as that."""
    trace, node = search.trace, int(search.trace.events[event, NODE])
    step = trace.events[event].copy()
    step[STATE], step[VALUE] = len(trace.states), 0
    step[FLAGS] &= ~FORCED_FLAG
    visit = np.array([EXPAND, node, len(trace.states), 0, 0], np.int32)
    end = np.array([END, -1, -1, BUDGET, 0], np.int32)
    row = trace.nodes[node].copy()
    row[ACTION:] = child.action
    made = Trace(
        search.problem,
        np.concatenate([trace.events[:event], [step, visit, end]]).astype(np.int32),
        np.concatenate([trace.nodes[:node], row[None]]).astype(np.int32),
        np.concatenate([trace.states, child.state[None]]).astype(np.int32),
    )
    try:
        tokens, align, _ = encode(system.dialect, made)
    except UserError:  # a claim of the beginning that the dialect has no words for
        return None
    words = tokens[align == event].astype(np.int32)
    read = Search.read(system, search.problem, np.concatenate([search.tokens[: search.told_before(event)], words]))
    return words if _is_step(read, event) and not read.verdict.errors.any() else None


def _is_step(read: Search, event: int) -> bool:
    """Say whether a beginning is understood to its end, which is the generation of a child by this event."""
    whole = read.verdict.status == DecodeStatus.TRUNCATED and len(read.trace.events) == event + 1
    return whole and int(read.trace.events[event, KIND]) == GENERATE


def _exchanged(
    system: System, search: Search, event: int, span: tuple[int, int], key: np.uint64
) -> tuple[np.ndarray, Error] | None:
    """Return the beginning up to a step, int32 (T,), with one token of it exchanged so that the verifier finds a
    mistake in this event and in no other, and the mistake; None where no exchange that is tried does so. A wrong result
    is taken before others."""
    places = np.arange(*span)[search.align[span[0] : span[1]] == event]
    found: tuple[np.ndarray, Error] | None = None
    for k in range(MOST_EXCHANGES):
        own = np.uint64(fold(key, k))
        tokens = search.tokens[: span[1]].copy()
        tokens[places[below(own, 0, len(places))]] = below(own, 1, len(system.dialect.vocab))
        read = Search.read(system, search.problem, tokens)
        if not _is_step(read, event) or read.verdict.errors[:event].any() or not read.verdict.errors[event]:
            continue
        error = Error(int(read.verdict.errors[event]))
        if error == Error.ARITHMETIC:
            return tokens, error
        found = found or (tokens, error)
    return found


class Outcomes(NamedTuple):
    """What a model made of the cases from one of the starts. C cases."""

    solved: np.ndarray  # bool (C,)
    back: np.ndarray  # bool (C,): something is told behind the step of a node that does not lie below it
    claimed: np.ndarray  # bool (C,): a goal is claimed of a node below it
    tokens: np.ndarray  # int64 (C,): written


def outcomes_of(
    system: System, problems: np.ndarray, cases: Sequence[Case], start: str, answers: Sequence[np.ndarray]
) -> Outcomes:
    """Judge whole streams, int32 (T,) each, that go on from `start` of each case."""
    rows = []
    for case, tokens in zip(cases, answers, strict=True):
        read = Search.read(system, problems[case.number], tokens)
        below_it = _subtree(read.trace, case.node)
        events = read.trace.events[case.event + 1 :]
        away = np.array([node not in below_it for node in events[:, NODE].tolist()], bool)
        told = np.isin(events[:, KIND], (EXPAND, GENERATE, DEAD_END, GOAL, BACKTRACK))
        claims = (events[:, KIND] == GOAL) & ~away
        written = len(tokens) - len(case.starts[start])
        rows.append((read.verdict.solved, bool((told & away).any()), bool(claims.any()), written))
    table = np.array(rows, np.int64).reshape(-1, 4)
    return Outcomes(table[:, 0] == 1, table[:, 1] == 1, table[:, 2] == 1, table[:, 3])


def _subtree(trace: Trace, top: int) -> set[int]:
    """Return a node and all below it."""
    found = {top}
    for node, parent in enumerate(trace.nodes[:, PARENT].tolist()):
        if parent in found and node > top:
            found.add(node)
    return found
