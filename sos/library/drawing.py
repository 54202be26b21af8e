"""A search as a picture: the tree, the way to the goal, and where it turned back."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sos.envs.words import words_of
from sos.errors import UserError
from sos.trace import ACTION, GENERATE, GOAL, KIND, NODE, PARENT, Trace

MOST_NODES = 400
MOST_WORDS = 24  # nodes whose actions are written beside them
GOAL_COLOUR, WRONG_COLOUR, OTHER_COLOUR = "#2A9D8F", "#C1440E", "#8A8F98"


class Picture(Figure):
    """A figure that notebooks show without any setting."""

    def _repr_png_(self) -> bytes:
        content = BytesIO()
        self.savefig(content, format="png", dpi=80)
        return content.getvalue()


def places(parents: np.ndarray) -> np.ndarray:
    """Return where each node of a tree is drawn, float64 (N, 2): leaves side by side in the order of a walk, a parent
    above the middle of its children, the root at height 0.

    parents: int (N,), -1 for the root, node 0, and below the node itself for all others. O(N).
    """
    num = len(parents)
    children: list[list[int]] = [[] for _ in range(num)]
    depth = np.zeros(num)
    for node in range(1, num):
        children[parents[node]].append(node)
        depth[node] = depth[parents[node]] + 1
    across, leaves, todo = np.zeros(num), 0, [0]
    while todo:
        node = todo.pop()
        if not children[node]:
            across[node], leaves = leaves, leaves + 1
        todo += reversed(children[node])
    for node in range(num - 1, -1, -1):
        if children[node]:
            across[node] = (across[children[node][0]] + across[children[node][-1]]) / 2
    return np.stack([across, -depth], 1)


def tree_figure(env: Any, trace: Trace, wrong_events: Sequence[int], title: str) -> Picture:
    """Return a drawing of the nodes that a trace generates; a plan behind the search is left out. Nodes of
    `wrong_events` stand out.

    Raises UserError for more than `MOST_NODES` nodes: `sos.save_page` shows any number.
    """
    events, nodes = trace.events, trace.nodes
    kept = [0, *np.unique(events[events[:, KIND] == GENERATE, NODE]).tolist()]
    if len(kept) > MOST_NODES:
        raise UserError(f"a drawing of {len(kept)} nodes cannot be read, {MOST_NODES} can: use sos.save_page")
    number = {node: k for k, node in enumerate(kept)}
    parents = np.array([-1, *(number.get(int(nodes[node, PARENT]), 0) for node in kept[1:])])
    at = places(parents)
    way = _way(events, number, parents)
    wrong = {number.get(int(events[event, NODE]), -1) for event in wrong_events if event < len(events)}
    claimed = WRONG_COLOUR if way & wrong else GOAL_COLOUR
    figure = Picture(figsize=(min(14.0, 2.5 + 0.55 * (at[:, 0].max() + 1)), 1.2 - 0.75 * at[:, 1].min()))
    axes = figure.add_subplot()
    for k, parent in enumerate(parents.tolist()):
        if parent >= 0:
            ends = at[[parent, k]]
            strong = k in way
            axes.plot(*ends.T, color=claimed if strong else "#C9CDD2", linewidth=2.2 if strong else 1, zorder=1)
    colours = [WRONG_COLOUR if k in wrong else claimed if k in way else OTHER_COLOUR for k in range(len(kept))]
    axes.scatter(at[:, 0], at[:, 1], c=colours, s=46, zorder=2)
    if len(kept) <= MOST_WORDS:
        speech = words_of(env)
        for node, (x, y) in zip(kept[1:], at[1:], strict=True):
            told = speech.action_text(nodes[node, ACTION:])
            axes.text(x, y - 0.16, told, ha="center", va="top", fontsize=7, bbox={"color": "white", "pad": 0.6})
    axes.set_title(f"{title}, {len(kept)} nodes", fontsize=10)
    axes.margins(0.08, 0.2)
    axes.set_axis_off()
    figure.tight_layout()
    return figure


def _way(events: np.ndarray, number: dict[int, int], parents: np.ndarray) -> set[int]:
    """Return the nodes from the root to the goal that the search claims, whether it is one or not."""
    goals = events[events[:, KIND] == GOAL, NODE]
    node = number.get(int(goals[0]), -1) if len(goals) else -1
    way = set()
    while node >= 0:
        way.add(node)
        node = int(parents[node])
    return way
