"""Work space of the searches: frames of moves, a heap of open nodes, and an exact table of the states already seen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.envs.protocol import NO_LIMIT
from sos.errors import UserError
from sos.kernels import inlined, inner
from sos.rng import fold
from sos.trace import ACTION, DEAD_END, END, EXPAND, FORCED_FLAG, GENERATE, GOAL, PARENT, RANK, SOLVED, add_event


class SearchWork(NamedTuple):
    """Caller-owned work arrays, reused from problem to problem. D = depths, C = children, A, W = row widths, N = nodes.

    `moves` and `keys` belong to the node being expanded at each depth: the moves to its children in generation order,
    and the kept children, best first, as heuristic value << KEY_BITS | number of the move. `seen` is an
    open-addressing hash table of rows of `seen_rows` (canonical states; index + 1, 0 = free), and `num_seen` int64
    (1,) counts them.
    """

    moves: np.ndarray  # int64 (D, C)
    keys: np.ndarray  # int64 (D, C)
    frame: np.ndarray  # int64 (D, 3): node, next child, number of kept children
    values: np.ndarray  # int64 (C,)
    ranks: np.ndarray  # int64 (C,)
    action: np.ndarray  # int32 (A,)
    child: np.ndarray  # int32 (W,)
    scratch: np.ndarray  # int64, the environment's
    seen: np.ndarray  # int32 (2**k,)
    seen_rows: np.ndarray  # int32 (N, W)
    num_seen: np.ndarray  # int64 (1,)
    row: np.ndarray  # int32 (W,)
    heap_values: np.ndarray  # int64 (N,)
    heap_nodes: np.ndarray  # int32 (N,)
    batch: np.ndarray  # int32 (N,) nodes taken from the heap together
    cheapest: np.ndarray  # int32 (N,): of each row of `seen_rows`, the node of the least path cost
    row_of: np.ndarray  # int32 (N,): the row of `seen_rows` of each node


NODE_SLOT, NEXT_SLOT, COUNT_SLOT = range(3)
KEY_BITS = 8
MOVE_MASK = (1 << KEY_BITS) - 1
SORTED_AT_ONCE = 4  # keys: a frame has room for them also where no node has as many children
ALL = 1 << KEY_BITS  # children of a node that the keys can tell apart


def new_work(env, max_nodes: int) -> SearchWork:
    """Allocate the work space for searches of `env` that generate at most `max_nodes` nodes.

    Raises UserError for an environment whose nodes have more children than the keys of a frame can tell apart.
    """
    depths, children = env.max_depth + 1, max(env.max_children, SORTED_AT_ONCE)
    slots = 1 << max(4, int(2 * max_nodes - 1).bit_length())
    if env.max_children > ALL:
        name = type(env).__name__
        raise UserError(f"a node of {name} has up to {env.max_children} children; searches take up to {ALL}: {env}")
    return SearchWork(
        np.zeros((depths, children), np.int64),
        np.zeros((depths, children), np.int64),
        np.zeros((depths, 3), np.int64),
        np.zeros(children, np.int64),
        np.zeros(children, np.int64),
        np.zeros(env.action_width, np.int32),
        np.zeros(env.state_width, np.int32),
        np.zeros(env.scratch_size, np.int64),
        np.zeros(slots, np.int32),
        np.zeros((max_nodes, env.state_width), np.int32),
        np.zeros(1, np.int64),
        np.zeros(env.state_width, np.int32),
        np.zeros(max_nodes, np.int64),
        np.zeros(max_nodes, np.int32),
        np.zeros(max_nodes, np.int32),
        np.zeros(max_nodes, np.int32),
        np.zeros(max_nodes, np.int32),
    )


@inner
def _slot(row, seen):
    h = np.uint64(0)
    for k in range(len(row)):
        h = fold(h, row[k])
    return np.int64(h & np.uint64(len(seen) - 1))


@inner
def clear_seen(work):
    """Empty the table in time linear in the number of its entries."""
    for n in range(work.num_seen[0]):
        slot = _slot(work.seen_rows[n], work.seen)
        while work.seen[slot] != 0:
            work.seen[slot] = 0
            slot = (slot + 1) & (len(work.seen) - 1)
    work.num_seen[0] = 0


@inlined
def find_seen(work):
    """Return the slot of the table that holds the canonical state in `work.row` (compared whole), or a free one."""
    slot = _slot(work.row, work.seen)
    while work.seen[slot] != 0:
        other = work.seen_rows[work.seen[slot] - 1]
        same = True
        for k in range(len(work.row)):
            if other[k] != work.row[k]:
                same = False
                break
        if same:
            break
        slot = (slot + 1) & (len(work.seen) - 1)
    return slot


@inlined
def add_seen(work):
    """Add the canonical state in `work.row`: 1 if it is new, 0 if it was there, -1 if full."""
    return add_seen_at(work, find_seen(work))


@inlined
def add_seen_at(work, slot):
    """Like `add_seen`, where `slot` is what `find_seen` returns."""
    if work.seen[slot] != 0:
        return 0
    n = work.num_seen[0]
    if n == len(work.seen_rows):
        return -1
    for k in range(len(work.row)):  # a loop, not a slice: it compiles in a fraction of the time
        work.seen_rows[n, k] = work.row[k]
    work.seen[slot] = n + 1
    work.num_seen[0] = n + 1
    return 1


@inner
def begin(env, heuristic, problem, work, trace):
    """Empty `trace` and `work` and make the root, node 0, without an event."""
    nodes, states, counts = trace.nodes, trace.states, trace.counts
    counts[0] = 0
    counts[1] = 1
    counts[2] = 1
    environment.prepare(env, heuristic, problem, work.scratch)
    clear_seen(work)
    environment.root_state(env, problem, states[0])
    for k in range(nodes.shape[1]):
        nodes[0, k] = 0
    nodes[0, PARENT] = -1


@inlined
def _sort(values, count, keys):
    """Write the `count` distinct numbers of `values` into `keys` in ascending order, without branches; `values` is
    lost.

    Both have room for four numbers at least. O(count**2), which for up to 40 numbers is faster than to branch.
    """
    if count <= SORTED_AT_ONCE:
        for k in range(count, SORTED_AT_ONCE):
            values[k] = NO_LIMIT
        a, b = min(values[0], values[1]), max(values[0], values[1])
        c, d = min(values[2], values[3]), max(values[2], values[3])
        keys[0], most = min(a, c), max(a, c)
        least, keys[3] = min(b, d), max(b, d)
        keys[1], keys[2] = min(most, least), max(most, least)
        return
    for k in range(count):
        rank = 0
        for m in range(count):
            rank += values[m] < values[k]
        keys[rank] = values[k]


class Pruning(NamedTuple):
    """Which children of a node a search keeps."""

    use_threshold: bool  # none above the environment's threshold
    skip_seen: bool  # none whose canonical state was kept before
    look_ahead: int  # none that the environment calls hopeless with that look-ahead
    skip_out_of_range: bool  # no leaf that no problem asks for
    most: int  # only so many of the best


@inlined
def fill_frame(env, heuristic, pruning, problem, work, depth, node, state):
    """Write the kept children of `state` into the frame at `depth`, best first; False if the table of states is full.

    Equal values stay in generation order.
    """
    moves = work.moves[depth]
    values = work.values
    num = environment.successors(env, heuristic, problem, work.scratch, state, moves, values)
    limit = environment.threshold(env, problem) if pruning.use_threshold else NO_LIMIT
    kept = 0
    for move in range(num):
        value = values[move]
        stays = value <= limit
        if stays and (pruning.look_ahead > 0 or pruning.skip_seen or pruning.skip_out_of_range):
            environment.make_child(env, problem, state, moves[move], work.action, work.child)
            if pruning.look_ahead > 0 and environment.hopeless(env, problem, work.child, pruning.look_ahead):
                continue
            if pruning.skip_out_of_range and environment.out_of_range(env, problem, work.child):
                continue
            if pruning.skip_seen:
                environment.canonical(env, problem, work.child, work.row)
                added = add_seen(work)
                if added < 0:
                    return False
                stays = added > 0
        # Equal values stay in generation order, for the number of the move is part of a key.
        values[kept] = value << KEY_BITS | move
        kept += stays
    _sort(values, kept, work.keys[depth])
    work.frame[depth, NODE_SLOT] = node
    work.frame[depth, NEXT_SLOT] = 0
    work.frame[depth, COUNT_SLOT] = min(kept, pruning.most)
    return True


@inlined
def write_child(env, problem, work, depth, slot, parent, rank, trace):
    """Write kept child number `slot` of the frame at `depth` behind the last node and return the node, not yet counted.

    The caller has made sure of room.
    """
    nodes, states = trace.nodes, trace.states
    node = trace.counts[1]
    move = work.moves[depth, work.keys[depth, slot] & MOVE_MASK]
    nodes[node, PARENT] = parent
    nodes[node, RANK] = rank
    environment.make_child(env, problem, states[parent], move, nodes[node, ACTION:], states[node])
    return node


@inlined
def add_generation(env, problem, work, depth, slot, node, trace):
    """Append that kept child number `slot` of the frame at `depth` is generated as `node`: forced, and why, or not."""
    if environment.deduced(env, work.moves[depth, work.keys[depth, slot] & MOVE_MASK]):
        parent = trace.nodes[node, PARENT]
        value = environment.reason(env, problem, trace.states[parent], trace.nodes[node, ACTION:])
        add_event(trace, GENERATE, node, node, value, FORCED_FLAG)
    else:
        add_event(trace, GENERATE, node, node, 0, 0)


@inlined
def count_child(trace, node):
    """Count `node`, the last one that was written, with its state."""
    trace.counts[1] = node + 1
    trace.counts[2] = node + 1


@inlined
def add_visit(trace, node):
    """Append the first visit of `node`."""
    add_event(trace, EXPAND, node, node, 0, 0)


@inlined
def add_verdict(env, problem, status, node, trace):
    """Append that `node` is a goal or dead, by its `status`, and the end of the search where it is a goal; say whether
    it is one."""
    value = environment.witness(env, problem, trace.states[node])
    if status == environment.GOAL:
        add_event(trace, GOAL, node, node, value, 0)
        add_event(trace, END, -1, -1, SOLVED, 0)
        return True
    add_event(trace, DEAD_END, node, node, value, 0)
    return False
