"""A toy environment that only speaks: a walk through a small graph. A state is a node of it, and is drawn."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np

from sos.envs import protocol
from sos.envs.protocol import Field, implements
from sos.envs.words import Mistake, Part, Words, words_for
from sos.errors import UserError
from sos.stream.codec import DecodeStatus
from sos.stream.verify import Error, Verdict
from sos.trace import ACTION, EVENT_COLUMNS, Event, Outcome, Trace
from sos.view.page import TraceStream

PLACES = {0: (0.0, 0.5), 1: (0.5, 0.0), 2: (0.5, 1.0), 3: (1.0, 0.0), 4: (1.0, 1.0)}
EDGES = [[0, 1], [0, 2], [1, 3], [2, 4]]


class Maze(NamedTuple):
    """Problem: start, exit. State: the place. Action: from, to."""

    problem_width: int = 2
    state_width: int = 1
    action_width: int = 2
    max_depth: int = 4

    @property
    def fields(self) -> dict[str, tuple[Field, ...]]:
        return {"exit": (Field("problem", 1),), "from": (Field("action", 0),), "to": (Field("action", 1),)}


@implements(protocol.root_state, Maze)
def _root_state(env, problem, state):
    state[0] = problem[0]


@words_for(Maze)
class MazeWords(Words):
    problem_form: ClassVar[str] = "START-EXIT"
    problem_fields: ClassVar[dict[str, str]] = {"start": "int", "exit": "int"}
    held_out: ClassVar[str] = "exit"
    holds: ClassVar[str] = "is at"
    mistake_names: ClassVar[dict[str, str]] = {"OPERAND": "no such door"}

    @classmethod
    def env_of(cls, problem: np.ndarray) -> Maze:
        if len(problem) != 2:
            raise UserError(f"problem must be [start, exit], got {problem.tolist()}")
        return Maze()

    def wrong_problems(self, problems: np.ndarray) -> np.ndarray:
        return ((problems < 0) | (problems >= len(PLACES))).any(1)

    def wrong_states(self, states: np.ndarray) -> np.ndarray:
        return ((states < 0) | (states >= len(PLACES))).any(1)

    def parse_problem(self, text: str) -> np.ndarray:
        return np.array([int(part) for part in text.split("-")], np.int32)

    def problem_parts(self, problem: np.ndarray) -> tuple[list[Part], Part]:
        return [f"p{problem[0]}"], f"p{problem[1]}"

    def task_text(self, problem: np.ndarray, state: np.ndarray) -> str:
        return f"walk from {self.state_text(state)} to p{problem[1]}"

    def problem_record(self, problem: np.ndarray) -> dict[str, Any]:
        return {"start": int(problem[0]), "exit": int(problem[1])}

    def row_of_record(self, record: dict[str, Any]) -> np.ndarray:
        return np.array([record["start"], record["exit"]], np.int32)

    def state_parts(self, state: np.ndarray) -> list[Part]:
        return [f"p{state[0]}"]

    def action_text(self, action: np.ndarray) -> str:
        return f"p{action[0]} ⇒ p{action[1]}"

    def verdict_text(self, problem: np.ndarray, goal: bool, value: Part) -> str:
        return f"p{value}: out." if goal else f"p{value} leads nowhere."

    def explain(self, mistake: Mistake) -> str:
        assert mistake.held is not None
        return f"{mistake.error.lower()} at {self.state_text(mistake.held)}, after {mistake.parent}."

    def draw(self, problem: np.ndarray, state: np.ndarray) -> dict[str, Any]:
        nodes = [{"id": id, "x": x, "y": y} for id, (x, y) in PLACES.items()]
        place = int(state[0])
        visited = {0: [0], 1: [0, 1], 2: [0, 2], 3: [0, 1, 3], 4: [0, 2, 4]}[place]
        unplaced = [4, 9]  # an edge to what has no place is left out
        picture = {"kind": "graph", "nodes": nodes, "edges": [*EDGES, unplaced], "target": int(problem[1])}
        return picture | {"current": place, "visited": visited}


def walk(*, wrong: bool = False) -> TraceStream:
    """A walk by 1 and 3, which leads nowhere, then by 2 to the exit 4; `wrong`: the first dead end is a mistake."""
    G, X, D, B = (int(kind) for kind in (Event.GENERATE, Event.EXPAND, Event.DEAD_END, Event.BACKTRACK))
    goal, end = int(Event.GOAL), int(Event.END)
    places = [0, 1, 3, 2, 4]  # of the tree's nodes, in the order in which they are made
    rows = [[X, 0], [G, 1], [X, 1], [G, 2], [D, 2], [B, 0], [G, 3], [X, 3], [G, 4], [goal, 4]]
    events = np.array(
        [[kind, n, n, places[n], 0] for kind, n in rows] + [[end, -1, -1, int(Outcome.SOLVED), 0]], np.int32
    )
    assert events.shape[1] == EVENT_COLUMNS
    parents = [-1, 0, 1, 0, 3]
    nodes = np.zeros((5, ACTION + 2), np.int32)
    for n, parent in enumerate(parents):
        nodes[n] = [parent, 0, places[parent] if parent >= 0 else 0, places[n]]
    trace = Trace(np.array([0, 4], np.int32), events, nodes, np.array(places, np.int32)[:, None])
    errors = np.zeros(len(events), np.int8)
    errors[4] = Error.OPERAND if wrong else Error.NONE
    align = np.arange(len(events), dtype=np.int32)
    verdict = Verdict(not wrong, errors, -1 if wrong else 9, DecodeStatus.OK)
    return TraceStream("a walk", "by hand", trace.problem, trace, align + 3, align, verdict)
