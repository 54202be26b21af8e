"""What a heuristic says of the nodes of a trace: where the best two children nearly tie, and where it got worse.

Only nodes count that are sound, as `sos.stream.verify` has it: what their actions lead to by the rules is known, and
the heuristic sees no other states. So a trace of claims can be measured like one of a search. The value of a node is
what `successors` of its parent gives the move that generates it; the root, and a node that no move generates, has none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.envs.heuristics import added_heuristic
from sos.errors import UserError
from sos.kernels import inlined, inner, kernel
from sos.schema.stream import MARKERS
from sos.search.guided import Steered
from sos.search.keys import StrategyConfig
from sos.trace import ACTION, EXPAND, GENERATE, KIND, NODE, PARENT

WAIT, MAYBE, CHECK, DEAD = (1 << k for k in range(len(MARKERS)))  # bits of marks
UNKNOWN = np.int64(-(2**62))
NONE = np.int64(-1)


class Measure(NamedTuple):
    """Whose values are compared."""

    env: Any
    scored: Any  # the environment, or one whose values are those of a package's heuristic
    kind: int  # an index into the environment's `heuristics`
    tie: int  # the most by which the second-best child is behind where they nearly tie, in the heuristic's scale


class MeasureWork(NamedTuple):
    """Work space. N = nodes, W = width of a state, A = of an action, C = children of a node at most."""

    states: np.ndarray  # int32 (N, W): what the actions of each sound node lead to
    sound: np.ndarray  # bool (N,)
    node_values: np.ndarray  # int64 (N,)
    moves: np.ndarray  # int64 (C,), and
    values: np.ndarray  # int64 (C,): those of the node at hand
    at_hand: np.ndarray  # int64 (2,): this node, and the number of its moves
    scratch: np.ndarray  # int64, the environment's
    action: np.ndarray  # int32 (A,)
    child: np.ndarray  # int32 (W,)


def new_measure_work(env: Any, max_nodes: int) -> MeasureWork:
    """Allocate for traces of up to `max_nodes` nodes."""
    children = max(env.max_children, 1)
    return MeasureWork(
        np.zeros((max_nodes, env.state_width), np.int32),
        np.zeros(max_nodes, np.bool_),
        np.zeros(max_nodes, np.int64),
        np.zeros(children, np.int64),
        np.zeros(children, np.int64),
        np.zeros(2, np.int64),
        np.zeros(env.scratch_size, np.int64),
        np.zeros(env.action_width, np.int32),
        np.zeros(env.state_width, np.int32),
    )


@inlined
def _num_moves(measure, problem, work, node):
    """Have the moves of a sound node and their values at hand; return how many there are."""
    if work.at_hand[0] != node:
        work.at_hand[0] = node
        work.at_hand[1] = 0
        state = work.states[node]
        if environment.status(measure.env, problem, state) == environment.OPEN:
            work.at_hand[1] = environment.successors(
                measure.scored, measure.kind, problem, work.scratch, state, work.moves, work.values
            )
    return work.at_hand[1]


@inner
def _same(a, b):
    for k in range(len(a)):
        if a[k] != b[k]:
            return False
    return True


@inlined
def _derive(measure, problem, nodes, work, node):
    """Note whether a node that is generated is sound, its state and its value."""
    parent, action = np.int64(nodes[node, PARENT]), nodes[node, ACTION:]
    if parent < 0 or not work.sound[parent]:
        return
    judged = environment.judge(measure.env, problem, work.states[parent], action, work.states[node])
    if judged != environment.HOLDS:
        return
    work.sound[node] = True
    for k in range(_num_moves(measure, problem, work, parent)):
        environment.make_child(measure.env, problem, work.states[parent], work.moves[k], work.action, work.child)
        if _same(work.action, action):
            work.node_values[node] = work.values[k]
            return


@inlined
def _is_tied(measure, problem, work, node):
    """Say whether the best two children of a sound node nearly tie; not where there are fewer than two."""
    num = _num_moves(measure, problem, work, node)
    if num < 2:
        return False
    best, second = min(work.values[0], work.values[1]), max(work.values[0], work.values[1])
    for k in range(2, num):
        value = work.values[k]
        if value < best:
            best, second = value, best
        elif value < second:
            second = value
    return second - best <= measure.tie


@kernel
def measure_trace(measure, problem, events, nodes, work, marks):
    """Set the bits `WAIT` and `MAYBE` in `marks` uint8 (E + 1,) of a trace of E events, at the event behind the one at
    which it is seen. O(nodes x children^2).

    `problem` must be one that the environment can pose; the events may be claims.
    """
    num = len(nodes)
    environment.prepare(measure.scored, measure.kind, problem, work.scratch)
    work.at_hand[0] = NONE
    for node in range(num):
        work.sound[node] = False
        work.node_values[node] = UNKNOWN
    if num > 0:
        environment.root_state(measure.env, problem, work.states[0])
        work.sound[0] = True
    for e in range(len(events)):
        kind, node = events[e, KIND], np.int64(events[e, NODE])
        if node < 0 or node >= num:
            continue
        if kind == GENERATE and node > 0 and not work.sound[node]:
            _derive(measure, problem, nodes, work, node)
            value = work.node_values[node]
            if value != UNKNOWN:
                before = work.node_values[nodes[node, PARENT]]
                if before != UNKNOWN and value > before:
                    marks[e + 1] |= WAIT
        elif kind == EXPAND and work.sound[node] and _is_tied(measure, problem, work, node):
            marks[e + 1] |= MAYBE


def measures(env: Any) -> tuple[str, ...]:
    """Return the heuristics of an environment that value states; others are orders of moves, or ways to deduce."""
    return tuple(getattr(env, "measures", env.heuristics[1:]))


def build_measure(env: Any, search: StrategyConfig, heuristic: str | None, tie: float) -> Measure:
    """Return whose values `stream.marker_heuristic` means. Raises UserError for one that is none of the environment,
    and for an environment that has none."""
    name = heuristic
    if name is None:
        names = {getattr(member, "heuristic", "none") for member in search.members().values()}
        own = names.pop() if len(names) == 1 else "none"
        name = next(iter(measures(env)), None) if own in env.heuristics and own not in measures(env) else own
    if name is None:
        raise UserError(
            f"stream.markers: wait and maybe compare values of a heuristic, and {type(env).__name__} has none; "
            "check and dead need none"
        )
    scale = round(tie * env.heuristic_scale)
    if name in measures(env):
        return Measure(env, env, env.heuristics.index(name), scale)
    if name in env.heuristics:
        known = ", ".join(measures(env)) or "none"
        raise UserError(
            f"stream.marker_heuristic={name} values no states of {type(env).__name__}; those that do: {known}"
        )
    kind = added_heuristic(name, env, "stream.marker_heuristic")
    room = np.zeros(env.action_width, np.int32), np.zeros(env.state_width, np.int32)
    return Measure(env, Steered(env, kind(), *room), 0, scale)
