"""Views that leave parts of a search out, by draws for each stream: what Dualformer is trained on (Su et al. 2024,
arXiv 2410.09918).

- `no_close`: a sketch (see `sos.stream.sketch`), in which no visit is told. What a search generates is all there.
- `no_cost`: nor are the facts of what is generated, such as costs.
- `drop`: a sketch with facts from which the share `stream.drop` of what is generated is left out, rounded down.
- `dropping`: a draw decides, with the chances `stream.dropping`, between the whole search, the three above, and no
  search. The share that `drop` leaves out is then drawn from 10 to 40%, as published for mazes.

The plan follows, and is the answer: a sketch does not say which node is the goal. What `drop` leaves out may be what
another node follows from, which then cannot be checked and is a mistake.

The published code draws anew in each epoch; here the draws of a problem stay. It may leave out the first node, the
start, as well, with which a sketch has to begin here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sos.config import StreamConfig
from sos.envs.protocol import implements
from sos.errors import UserError
from sos.kernels import inner
from sos.rng import uniform
from sos.stream.added import AddedView, show
from sos.stream.dialect import program as d
from sos.stream.dialect.compile import Dialect
from sos.stream.plan import only_plan, put_plan
from sos.stream.sketch import Nodes, ToldAction, find_parent
from sos.stream.views import NEEDS_SOLUTION, WHOLE_TRACE, copy_trace
from sos.trace import (
    ACTION,
    BACKTRACK,
    BARE_FLAG,
    BUFFER_FULL,
    END,
    EXPAND,
    GENERATE,
    KIND,
    NODE,
    OK,
    PARENT,
    RANK,
    SOLVED,
    UNTOLD_FLAG,
    VALUE,
    add_event,
)

LEAST, MOST = 0.1, 0.4  # shares that are left out of mazes, as published
SHARE_DRAW = np.int64(-2)  # the draw that decides on the share; nodes draw with their numbers


class Dropping(NamedTuple):
    """The chances of a whole search, and of what each of `no_close`, `no_cost` and `drop` leaves, in sums, so that the
    rest is that of no search; between which shares `drop` leaves out; and what of an action is told without its facts.
    """

    keep: float = 0.0
    no_close: float = 1.0
    no_cost: float = 1.0
    drop: float = 1.0
    least: float = 0.0
    most: float = 0.0
    bare: int = 0  # bits of columns


@inner
def _sketch(view, key, env, problem, source, out, work, draw):
    """Write the sketch of a solved trace that `draw` decides on, and its plan."""
    bare = view.no_close <= draw < view.no_cost
    share = view.least + (view.most - view.least) * uniform(key, SHARE_DRAW) if draw >= view.no_cost else 0.0
    events, nodes = source.events, source.nodes
    if 2 * source.counts[1] > len(out.events) or source.counts[1] > len(out.nodes):
        return BUFFER_FULL
    for c in range(nodes.shape[1]):
        out.nodes[0, c] = nodes[0, c]
    for c in range(source.states.shape[1]):
        out.states[0, c] = source.states[0, c]
    flags = BARE_FLAG if bare else 0
    out.counts[0], out.counts[1], out.counts[2] = 0, 1, 1
    add_event(out, EXPAND, 0, 0, 0, UNTOLD_FLAG | flags)
    ranks, rows = work.ranks, work.renumbered
    for node in range(source.counts[1]):
        ranks[node] = 0
        rows[node] = node
    seen = view.bare if bare else (1 << (nodes.shape[1] - ACTION)) - 1
    left = source.counts[1] - 1  # of which there are still so many to leave out
    fewer, current = np.int64(left * share), np.int64(0)
    for e in range(source.counts[0]):
        if events[e, KIND] != GENERATE:
            continue
        node, new = np.int64(events[e, NODE]), out.counts[1]
        leaves_out = uniform(key, node) * left < fewer
        left -= 1
        if leaves_out:
            fewer -= 1
            continue
        told, known = ToldAction(nodes[node, ACTION:], seen), Nodes(out.states, rows, new, current)
        parent = find_parent(env, problem, known, told, out.nodes[new, ACTION:], out.states[new])
        if parent != current or (parent > 0 and ranks[parent] == 0):
            visited = parent == 0 or ranks[parent] > 0
            add_event(out, BACKTRACK if visited else EXPAND, parent, parent, 0, UNTOLD_FLAG)
        out.nodes[new, PARENT] = parent
        out.nodes[new, RANK] = ranks[parent]
        ranks[parent] += 1
        out.counts[1], out.counts[2] = new + 1, new + 1
        add_event(out, GENERATE, new, new, 0, flags)
        current = parent
    if out.counts[1] == 1:  # all was left out
        return only_plan(env, problem, source, out)
    status = put_plan(env, problem, source, np.int64(events[source.counts[0] - 2, NODE]), out)
    if status == OK:
        add_event(out, END, -1, -1, SOLVED, 0)
    return status


@implements(show, Dropping)
def _show(view, key, env, problem, source, out, work):
    if source.events[source.counts[0] - 1, VALUE] != SOLVED:
        return NEEDS_SOLUTION
    draw = uniform(key, WHOLE_TRACE)
    if draw < view.keep:
        return copy_trace(source, out)
    if draw >= view.drop:
        return only_plan(env, problem, source, out)
    return _sketch(view, key, env, problem, source, out, work, draw)


def dropping_view(config: StreamConfig, dialect: Dialect) -> AddedView:
    """Return the view of this module that a config names. Raises UserError where the dialect has no forms for it."""
    chances: dict[str, Sequence[float]] = {"no_close": (0.0, 1.0, 0.0, 0.0, 0.0), "no_cost": (0.0, 0.0, 1.0, 0.0, 0.0)}
    chances |= {"drop": (0.0, 0.0, 0.0, 1.0, 0.0), "dropping": config.dropping}
    sums = np.cumsum(chances[config.view]) / np.sum(chances[config.view])
    least, most = (config.drop, config.drop) if config.view == "drop" else (LEAST, MOST)
    program = dialect.program
    needed = {"begin_sketch": chances[config.view][1] + chances[config.view][3], "begin_bare": chances[config.view][2]}
    for form, chance in needed.items():
        if chance > 0 and form not in dialect.templates:
            raise UserError(
                f"stream.view={config.view} needs a dialect with the form {form!r}; {dialect.name} has none"
            )
    code = program.code[program.start[d.BARE] : program.start[d.BARE + 1]]
    bare = sum(1 << int(column) for column in {int(c) for kind, c in code if kind in (d.ACTION_NUMBER, d.SYMBOL)})
    keep, no_close, no_cost, drop = (float(total) for total in sums[:4])
    return AddedView(Dropping(keep, no_close, no_cost, drop, least, most, bare), plan=True)
