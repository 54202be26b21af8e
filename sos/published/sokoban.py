"""The published words of Sokoban searches (Lehnert et al. 2024, facebookresearch/searchformer), to and from traces.

Their search is ours with `env=sokoban search=a_star search.heuristic=docks`, where theirs draws neither the order of
children nor what decides between equal nodes. The words:

    worker x y box x y ... dock x y ... wall x y ...
    create worker x y box x y ... cG cH
    close worker x y box x y ... cG cH
    plan x y

Walls are all of them, each kind of cell is in the order of x and then y, and a plan is the cells of the worker, the
first included. A step names the boxes that are on no dock, so that it does not say a whole state: which docks are
full is known from what was created before. A template says a state whole; hence these functions.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sos.envs.sokoban.rules import Sokoban
from sos.errors import UserError
from sos.trace import ACTION, KIND, NODE, Event, Trace

Cell = tuple[int, int]


def to_published(env: Sokoban, trace: Trace) -> tuple[str, str]:
    """Return the prompt and the answer that tell a trace of steps: its search, and its plan, where it has them.

    Raises UserError where actions are pushes, and for an event that the published words cannot say.
    """
    if env.pushes:
        raise UserError("env.pushes=true: the published words tell steps")
    docks = set(_cells(env, trace.problem[env.docks_column : env.walls_column]))
    nodes = [int(node) for node in trace.events[:, NODE]]
    told: list[str] = []
    alone = (trace.events[:, KIND] == Event.PLAN).any() and not (trace.events[:, KIND] == Event.GENERATE).any()
    for kind, node in zip(trace.events[:, KIND], nodes, strict=True):
        if alone and kind == Event.EXPAND:
            continue  # a plan without a search
        if kind == Event.PLAN:
            told += [f"plan {_said(env, trace.problem[1:2])}"] * (not told or not told[-1].startswith("plan"))
            told.append(f"plan {_said(env, trace.nodes[node, ACTION : ACTION + 1])}")
        elif kind in (Event.GENERATE, Event.EXPAND):
            told += [f"create {_state(env, trace.states[0], docks)}"] * (not told)
            told.append(f"{'create' if kind == Event.GENERATE else 'close'} {_state(env, trace.states[node], docks)}")
        elif kind not in (Event.GOAL, Event.END):
            raise UserError(f"the published words have none for the event {Event(kind).name}")
    return _prompt(env, trace.problem), " ".join(told)


def _cells(env: Sokoban, numbers: np.ndarray) -> list[Cell]:
    return sorted((int(number) % env.width, int(number) // env.width) for number in numbers)


def _said(env: Sokoban, numbers: np.ndarray, word: str = "") -> str:
    return " ".join(f"{word}{x} {y}" for x, y in _cells(env, numbers))


def _state(env: Sokoban, state: np.ndarray, docks: set[Cell]) -> str:
    boxes = "".join(f"box {x} {y} " for x, y in _cells(env, state[1 : 1 + env.boxes]) if (x, y) not in docks)
    return f"worker {_said(env, state[:1])} {boxes}c{int(state[-2])} c{int(state[-1])}"


def _prompt(env: Sokoban, problem: np.ndarray) -> str:
    worker, boxes, docks, walls = env.parts(problem)
    around = [cell for cell in range(env.num_cells) if _is_border(env, cell)]
    kinds = [("worker", [worker]), ("box", boxes), ("dock", docks), ("wall", [*walls, *around])]
    return " ".join(_said(env, np.array(cells), f"{word} ") for word, cells in kinds)


def _is_border(env: Sokoban, cell: int) -> bool:
    x, y = cell % env.width, cell // env.width
    return x in (0, env.width - 1) or y in (0, env.height - 1)


def from_published(env: Sokoban, text: str) -> str:
    """Return a published prompt and answer as a stream of the dialect `compact` with a plan, without its first and last
    mark: what it says, right or wrong.

    Raises UserError for words that cannot be read, for a search or a plan that does not begin at the start, and where a
    state is closed that was not created.
    """
    words = iter(text.split())
    prompt, kinds = _read_prompt(env, words)
    return " ".join([prompt, *_Reader(env, kinds).told(words)])


def _read_prompt(env: Sokoban, words: Iterator[str]) -> tuple[str, dict[str, list[int]]]:
    kinds: dict[str, list[int]] = {"worker": [], "box": [], "dock": [], "wall": []}
    wanted = env.num_cells
    for word in words:
        if word not in kinds:
            raise UserError(f"{word!r} stands where worker, box, dock or wall should")
        kinds[word].append(_cell(env, next(words, ""), next(words, "")))
        # All walls are said, so that the last cell of the grid ends the prompt.
        if word == "wall" and kinds[word][-1] == wanted - 1:
            break
    inside = [cell for cell in kinds["wall"] if not _is_border(env, cell)]
    parts = [sorted(inside), sorted(kinds["dock"]), sorted(kinds["box"]), kinds["worker"]]
    return " / ".join(" ".join(map(str, part)) for part in parts) + " =", kinds


def _cell(env: Sokoban, x: str, y: str) -> int:
    for number, most in ((x, env.width), (y, env.height)):
        if not (number.isascii() and number.isdigit() and int(number[:3]) < most):
            raise UserError(f"{number!r} stands where a coordinate below {most} should")
    return int(x) + env.width * int(y)


class _Reader:
    """Reads the answer; knows of what was created which boxes it has, those on docks included."""

    def __init__(self, env: Sokoban, kinds: dict[str, list[int]]) -> None:
        self.env, self.start = env, kinds["worker"][0] if kinds["worker"] else -1
        self.docks, self.boxes = set(kinds["dock"]), frozenset(kinds["box"])
        # The words of a state -> the boxes of those that were created and not closed: states that differ in which docks
        # are full may share their words. Of these the one with the lesser boxes is closed first, as published.
        self.created: dict[str, list[list[int]]] = {}
        self.closed = self.start, self.boxes  # the state that was closed last

    def told(self, words: Iterator[str]) -> Iterator[str]:
        """Yield the parts of the stream."""
        first = {"create", "close", "plan"}
        for word in words:
            if word == "plan":
                cell = self._next_cell(words)
                if "plan" not in first:
                    yield f"+ {cell}"
                elif cell != self.start:
                    raise UserError(f"a plan begins at cell {cell}, and the worker at {self.start}")
            elif word in ("create", "close"):
                worker, off, facts = self._state(words)
                if word in first:  # the root's are no events of their own
                    if (worker, off) != (self.start, self.boxes - self.docks):
                        raise UserError(f"a search begins with {word} of another state than the level's")
                    self._remember(worker, off, facts, self.boxes)
                else:
                    yield self._create(worker, off, facts) if word == "create" else self._close(worker, off, facts)
            else:
                raise UserError(f"{word!r} stands where create, close or plan should")
            first -= {word}

    def _next_cell(self, words: Iterator[str]) -> int:
        return _cell(self.env, next(words, ""), next(words, ""))

    def _state(self, words: Iterator[str]) -> tuple[int, frozenset[int], str]:
        """Read the worker, the boxes on no dock, and cost and estimate."""
        if next(words, "") != "worker":
            raise UserError("a state must begin with its worker")
        worker, off, word = self._next_cell(words), [], next(words, "")
        while word == "box":
            off.append(self._next_cell(words))
            word = next(words, "")
        facts = [word[1:], next(words, "")[1:]]
        if not all(fact.isascii() and fact.isdigit() for fact in facts):
            raise UserError(f"{word!r} stands where a cost should, such as c3")
        return worker, frozenset(off), " ".join(str(int(fact)) for fact in facts)

    def _create(self, worker: int, off: frozenset[int], facts: str) -> str:
        """Return a step from the state that was closed last, and remember the boxes that it leads to."""
        before, boxes = self.closed
        if worker in boxes:
            boxes = boxes - {worker} | {2 * worker - before}
        # Other boxes than these are the stream's mistake, which its next visit makes.
        self._remember(worker, off, facts, boxes if boxes - self.docks == off else off)
        return f"{worker} {facts} ,"

    def _remember(self, worker: int, off: frozenset[int], facts: str, boxes: frozenset[int]) -> None:
        waiting = self.created.setdefault(f"{worker} {sorted(off)} {facts}", [])
        if sorted(boxes) not in waiting:
            waiting.append(sorted(boxes))
            waiting.sort()

    def _close(self, worker: int, off: frozenset[int], facts: str) -> str:
        waiting = self.created.get(f"{worker} {sorted(off)} {facts}")
        if not waiting:
            raise UserError(
                f"a state is closed that was not created: worker at cell {worker}, cost and estimate {facts}"
            )
        boxes = frozenset(waiting.pop(0))
        self.closed = worker, boxes
        end = " !" if boxes == self.docks else ""
        return f"> {worker} : {' '.join(map(str, sorted(boxes)))} : {facts}{end}"
