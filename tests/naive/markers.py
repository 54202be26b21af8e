"""Markers from a trace, one event at a time, in plain lists and exact fractions: the slow way."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Protocol

from naive import maze as naive_maze
from naive import search as naive_search

from sos.trace import ACTION, KIND, NODE, PARENT, Event, Trace

State = Any
Child = tuple[list[int], State, Fraction]  # the numbers of the action, what it leads to, and the heuristic's value


class Rules(Protocol):
    """A task, for one problem."""

    def root(self) -> State: ...

    def children(self, state: State) -> list[Child]:
        """Return what may follow; nothing behind a goal and a dead end."""
        ...

    def after(self, state: State, action: Sequence[int]) -> State | None:
        """Return what an action that is claimed leads to, None where it does not hold."""
        ...


class Numbers:
    """Countdown: a state is a list of numbers."""

    def __init__(self, env: Any, problem: Sequence[int], heuristic: str) -> None:
        self.env, self.numbers, self.target, self.heuristic = (
            env,
            list(problem[2 : 2 + problem[1]]),
            problem[0],
            heuristic,
        )

    def root(self) -> State:
        return sorted(self.numbers, reverse=True) if self.env.descending else self.numbers

    def children(self, state: State) -> list[Child]:
        return [
            (
                [a, "+*-/".index(operator), b, result],
                child,
                naive_search.heuristic(self.heuristic, child, self.target),
            )
            for (a, operator, b, result), child in naive_search.successors(
                state, self.env.max_value, self.env.descending
            )
        ]

    def after(self, state: State, action: Sequence[int]) -> State | None:
        a, code, b, result = action
        left = list(state)
        for number in (a, b):
            if number not in left:
                return None
            left.remove(number)
        if naive_search.legal(a, "+*-/"[code], b, self.env.max_value) != result:
            return None
        return sorted([*left, result], reverse=self.env.descending) if self.env.descending else [*left, result]


class Cells:
    """Mazes: a state is a cell and what the path to it cost."""

    def __init__(self, env: Any, problem: Sequence[int], coordinates: bool) -> None:
        self.maze, self.coordinates = naive_maze.maze_of(list(problem), env.width, env.height, coordinates), coordinates

    def root(self) -> State:
        return self.maze.start, 0

    def children(self, state: State) -> list[Child]:
        cell, cost = state
        if cell == self.maze.goal:
            return []
        return [
            ([*self._named(to), cost + 1, self.maze.estimate(to)], (to, cost + 1), Fraction(self.maze.estimate(to)))
            for to in self.maze.beside(cell)
        ]

    def after(self, state: State, action: Sequence[int]) -> State | None:
        return next((child for numbers, child, _ in self.children(state) if numbers == list(action)), None)

    def _named(self, cell: tuple[int, int]) -> list[int]:
        return list(cell) if self.coordinates else [cell[0] + self.maze.width * cell[1]]


def marks(trace: Trace, rules: Rules, tie: Fraction) -> list[set[str]]:
    """Return what is seen before each event of a trace, and behind the last one."""
    seen: list[set[str]] = [set() for _ in range(len(trace.events) + 1)]
    states: dict[int, State] = {0: rules.root()}  # of the sound nodes
    values: dict[int, Fraction] = {}
    at, before = -1, None
    for e, row in enumerate(trace.events.tolist()):
        kind, node = Event(row[KIND]), row[NODE]
        parent = int(trace.nodes[node, PARENT]) if kind == Event.GENERATE and node >= 0 else -1
        if kind == Event.GENERATE and node > 0 and node not in states and parent in states:
            action = trace.nodes[node, ACTION:].tolist()
            child = rules.after(states[parent], action)
            if child is not None:
                states[node] = child
                for numbers, _, value in rules.children(states[parent]):
                    if numbers == action:
                        values[node] = value
                        break
            if node in values and parent in values and values[node] > values[parent]:
                seen[e + 1].add("wait")
        if kind == Event.EXPAND and node in states:
            ordered = sorted(value for _, _, value in rules.children(states[node]))
            if len(ordered) > 1 and ordered[1] - ordered[0] <= tie:
                seen[e + 1].add("maybe")
        if kind == Event.GOAL:
            seen[e].add("check")
        if e > 0 and kind == Event.BACKTRACK and (node != at or before == Event.DEAD_END):
            seen[e].add("dead")
        if e > 0 and kind == Event.GENERATE and parent != at:
            seen[e].add("dead")
        if kind in (Event.EXPAND, Event.BACKTRACK):
            at = node
        if kind == Event.GENERATE:
            at = parent
        before = kind
    return seen
