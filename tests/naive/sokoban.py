"""Sokoban in plain Python: levels, moves, dead ends, searches and the published words (facebookresearch/searchformer)."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from naive.a_star import Found, Rules, a_star

Cell = tuple[int, int]  # x and y, which grows downward
DIRECTIONS: list[Cell] = [(0, -1), (0, 1), (-1, 0), (1, 0)]
LOST = -1  # the estimate of a state that is left out


def plus(cell: Cell, direction: Cell) -> Cell:
    return cell[0] + direction[0], cell[1] + direction[1]


class State(NamedTuple):
    worker: Cell
    boxes: frozenset[Cell]


class Level(NamedTuple):
    width: int
    height: int
    walls: frozenset[Cell]  # those around it, too
    docks: frozenset[Cell]
    start: State
    pushes: bool = False
    open_docks: bool = True
    show_dead_ends: bool = False
    max_steps: int = 99

    def number(self, cell: Cell) -> int:
        return cell[0] + self.width * cell[1]

    def inner_walls(self) -> list[int]:
        return sorted(self.number(cell) for cell in self.walls - border(self.width, self.height))


def border(width: int, height: int) -> frozenset[Cell]:
    return frozenset((x, y) for x in range(width) for y in range(height) if x in (0, width - 1) or y in (0, height - 1))


def level_of(rows: Sequence[str], **options: Any) -> Level:
    """Read a level as people draw it."""
    found = {mark: set[Cell]() for mark in "#.$*@+ "}
    for y, row in enumerate(rows):
        for x, mark in enumerate(row):
            found[mark].add((x, y))
    docks, boxes = found["."] | found["*"] | found["+"], found["$"] | found["*"]
    (worker,) = found["@"] | found["+"]
    start = State(worker, frozenset(boxes))
    return Level(len(rows[0]), len(rows), frozenset(found["#"]), frozenset(docks), start, **options)


def draw(rng: random.Random, width: int, height: int, walls: int, boxes: int, **options: Any) -> Level:
    """Draw a level as published; it may lack a solution."""
    taken = set(border(width, height))

    def some(num: int, inset: int) -> list[Cell]:
        cells = [(x, y) for x in range(inset, width - inset) for y in range(inset, height - inset)]
        chosen = rng.sample([cell for cell in cells if cell not in taken], num)
        taken.update(chosen)
        return chosen

    around = frozenset(taken)
    inside = some(walls, 1)
    crates = some(boxes, 2)
    (worker,) = some(1, 1)
    docks = some(boxes, 1)
    return Level(width, height, around | set(inside), frozenset(docks), State(worker, frozenset(crates)), **options)


# Moves


def area(level: Level, state: State) -> set[Cell]:
    """Return the cells that the worker can walk to, none where it stands in a wall."""
    if not stands_free(level, state.worker):
        return set()
    found, waiting = {state.worker}, [state.worker]
    while waiting:
        cell = waiting.pop()
        for direction in DIRECTIONS:
            near = plus(cell, direction)
            if near not in level.walls | state.boxes and near not in found:
                found.add(near)
                waiting.append(near)
    return found


def step(level: Level, state: State, direction: Cell) -> State | None:
    to = plus(state.worker, direction)
    if to in level.walls:
        return None
    if to not in state.boxes:
        return State(to, state.boxes)
    behind = plus(to, direction)
    if behind in level.walls | state.boxes:
        return None
    return State(to, state.boxes - {to} | {behind})


def by_number(level: Level, cells: Any) -> list[Cell]:
    return sorted(cells, key=level.number)


def children(level: Level, state: State, *, lost: bool = False) -> list[tuple[tuple[Cell, ...], State]]:
    """Return the actions from a state (a cell, or a box and where it goes), each with what it leads to; without those
    that are left out, unless `lost`."""
    found: list[tuple[tuple[Cell, ...], State]] = []
    if level.pushes:
        free = area(level, state)
        for box in by_number(level, state.boxes):
            for direction in DIRECTIONS:
                stands = (box[0] - direction[0], box[1] - direction[1])
                after = step(level, State(stands, state.boxes), direction) if stands in free else None
                if after is not None:
                    found.append(((box, plus(box, direction)), after))
    else:
        for direction in DIRECTIONS:
            after = step(level, state, direction)
            if after is not None:
                found.append(((after.worker,), after))
    return [(action, after) for action, after in found if lost or estimate(level, after.boxes) != LOST]


def stands_free(level: Level, cell: Cell) -> bool:
    return 0 < cell[0] < level.width - 1 and 0 < cell[1] < level.height - 1 and cell not in level.walls


def estimate(level: Level, boxes: frozenset[Cell]) -> int:
    off = {(x, y) for x, y in boxes - level.docks if y < level.height}
    goals = level.docks - boxes if level.open_docks else level.docks
    if not level.show_dead_ends and any(in_corner(level, box) for box in off if stands_free(level, box)):
        return LOST
    if not goals:
        return 0
    return sum(min(abs(x - a) + abs(y - b) for a, b in goals) for x, y in off)


def in_corner(level: Level, box: Cell) -> bool:
    walled = [plus(box, direction) in level.walls for direction in DIRECTIONS]
    return any(walled[:2]) and any(walled[2:])


def frozen(level: Level, boxes: frozenset[Cell]) -> set[Cell]:
    """Return the boxes on no dock that no order of pushes can ever move, as if the worker could stand anywhere and all
    boxes that can be moved could be taken away."""
    left = {box for box in boxes if stands_free(level, box)}
    while True:
        free = [
            box
            for box in left
            if any(
                plus(box, one) not in level.walls | left and plus(box, other) not in level.walls | left
                for one, other in (DIRECTIONS[:2], DIRECTIONS[2:])
            )
        ]
        if not free:
            return left - level.docks
        left -= set(free)


def is_solved(level: Level, state: State) -> bool:
    return state.boxes == level.docks


def same(level: Level, state: State) -> State:
    """Return what all states with equal futures have in common."""
    if not level.pushes:
        return state
    return State(min(area(level, state), key=level.number), state.boxes)


def optimum(level: Level) -> int:
    """Return the fewest steps or pushes that solve a level, -1 for none."""
    seen, waiting = {same(level, level.start): 0}, deque([level.start])
    while waiting:
        state = waiting.popleft()
        cost = seen[same(level, state)]
        if is_solved(level, state):
            return cost
        for _, after in children(level, state, lost=True) if cost < level.max_steps else []:
            if same(level, after) not in seen:
                seen[same(level, after)] = cost + 1
                waiting.append(after)
    return -1


def twins(level: Level) -> list[Level]:
    """Return the turns and reflections of a level that keep the sides of its grid, itself among them."""
    found = []
    for turned in (False, True) if level.width == level.height else (False,):
        for over_x in (False, True):
            for over_y in (False, True):

                def image(cell: Cell, turned: bool = turned, over_x: bool = over_x, over_y: bool = over_y) -> Cell:
                    x = level.width - 1 - cell[0] if over_x else cell[0]
                    y = level.height - 1 - cell[1] if over_y else cell[1]
                    return (y, x) if turned else (x, y)

                def images(cells: frozenset[Cell], image: Any = image) -> frozenset[Cell]:
                    return frozenset(image(cell) for cell in cells)

                start = State(image(level.start.worker), images(level.start.boxes))
                found.append(level._replace(walls=images(level.walls), docks=images(level.docks), start=start))
    return found


# Searches


class Places:
    """The states of a level by number, as places of a graph; each is the one that a search reached first."""

    def __init__(self, level: Level) -> None:
        self.level = level
        self.states = [level.start]
        self.edges: list[tuple[int, int, int]] = []
        numbers = {level.start: 0}
        for place, state in enumerate(self.states):  # which grows
            for _, after in children(level, state):
                if after not in numbers:
                    numbers[after] = len(self.states)
                    self.states.append(after)
                self.edges.append((place, numbers[after], 1))
        self.goals = [place for place, state in enumerate(self.states) if is_solved(level, state)]


def search(places: Places, *, informed: bool = True, costs: bool = True, ties: str = "state") -> Found:
    """Search a level whose actions are steps as the published A* does, or without estimates or costs."""
    level, graph = places.level, _Graph(0, places.goals, places)

    def tie(node: int, place: int) -> Any:
        state = places.states[place]
        return (level.number(state.worker), sorted(map(level.number, state.boxes))) if ties == "state" else node

    rules = Rules(
        lambda cost, place: cost * costs + max(0, estimate(level, places.states[place].boxes)) * informed,
        tie,
        lambda node, num: list(range(num)),
    )
    return a_star(graph, rules)  # type: ignore[arg-type]


class _Among:
    """Equal to every place that is a goal."""

    def __init__(self, places: list[int]) -> None:
        self.places = set(places)

    def __eq__(self, other: object) -> bool:
        return other in self.places

    __hash__ = None  # type: ignore[assignment]


class _Graph:
    """What `naive.a_star` asks of a graph."""

    def __init__(self, start: int, goals: list[int], places: Places) -> None:
        self.start, self.target, self.edges, self.places = start, _Among(goals), places.edges, places

    def status(self, place: int) -> str:
        level, state = self.places.level, self.places.states[place]
        if place == self.target:
            return "goal"
        return "dead" if level.show_dead_ends and frozen(level, state.boxes) else "open"


# The published words


def prompt(level: Level) -> str:
    kinds = [("worker", [level.start.worker]), ("box", level.start.boxes), ("dock", level.docks), ("wall", level.walls)]
    return " ".join(f"{word} {x} {y}" for word, cells in kinds for x, y in sorted(cells))


def trace(level: Level, found: Found, places: Places) -> str:
    words = [_step("create", level, found, places, 0)]
    for kind, node, _ in found.events:
        if kind in (0, 1):
            words.append(_step("close" if kind == 0 else "create", level, found, places, node))
    return " ".join(words)


def _step(word: str, level: Level, found: Found, places: Places, node: int) -> str:
    _, _, place, cost = found.nodes[node]
    state = places.states[place]
    boxes = "".join(f" box {x} {y}" for x, y in sorted(state.boxes - level.docks))
    return f"{word} worker {state.worker[0]} {state.worker[1]}{boxes} c{cost} c{estimate(level, state.boxes)}"


def way(found: Found, places: Places) -> list[Cell]:
    """Return the cells of the worker that a search found."""
    node, cells = found.events[-2][1], []
    while node >= 0:
        cells.append(places.states[found.nodes[node][2]].worker)
        node = found.nodes[node][0]
    return cells[::-1]


# Verdicts, of rows [worker, boxes, cost, estimate]


def numbers(level: Level, cells: Any) -> list[int]:
    return sorted(map(level.number, cells))


def in_corners(level: Level) -> bool:
    return any(in_corner(level, box) for box in level.start.boxes - level.docks)


def _cell(level: Level, number: int) -> Cell:
    """Return the cell of a number; what is no cell becomes one that is beside nothing."""
    if 0 <= number < 64:
        return number % level.width, number // level.width
    return number, -1000


def claimed(level: Level, state: list[int], action: list[int]) -> list[int]:
    """Return the boxes that an action leads to as if nothing were in the way, the cost of the way there and the
    estimate."""
    boxes = {_cell(level, number) for number in state[1:-2] if 0 <= number < 64}
    _, to, behind, near = _move(level, state, action)
    if near and to in boxes:
        boxes = boxes - {to} | ({behind} if 0 <= level.number(behind) < 64 else set())
    return [*numbers(level, boxes), state[-2] + 1, estimate(level, frozenset(boxes))]


def _move(level: Level, state: list[int], action: list[int]) -> tuple[Cell, Cell, Cell, bool]:
    """Return from where the worker moves, where to, what is behind, and whether these are three cells in a row."""
    first, second = (action[0], action[1]) if level.pushes else (state[0], action[0])
    inside = all(0 <= number < level.width * level.height for number in (first, second))
    (x, y), (a, b) = _cell(level, first), _cell(level, second)
    near = inside and abs(x - a) + abs(y - b) == 1
    if level.pushes:
        return (2 * x - a, 2 * y - b), (x, y), (a, b), near
    return (x, y), (a, b), (2 * a - x, 2 * b - y), near


def child_of(level: Level, state: list[int], action: list[int]) -> list[int]:
    boxes = claimed(level, state, action)[:-2]
    padded = [*boxes, *[0] * (len(state) - 3 - len(boxes))]
    return [action[0], *padded, *action[-2:]]


def judge(level: Level, state: list[int], action: list[int]) -> int:
    """Return 0, 3 for what is not beside or not there, 4 for what is in the way, 5 for a wrong fact."""
    boxes = {_cell(level, number) for number in state[1:-2] if 0 <= number < 64}
    stands, to, behind, near = _move(level, state, action)
    if not near or (level.pushes and to not in boxes):
        return 3
    blocked = to in boxes and behind in level.walls | boxes
    if to in level.walls or blocked or state[-2] + 1 > level.max_steps:
        return 4
    if level.pushes and stands not in area(level, State(_cell(level, state[0]), frozenset(boxes))):
        return 4
    return 0 if action[-2:] == claimed(level, state, action)[-2:] else 5


def status(level: Level, state: list[int]) -> str:
    boxes = {_cell(level, number) for number in state[1:-2] if 0 <= number < 64}
    if boxes == level.docks:
        return "goal"
    return "dead" if level.show_dead_ends and stuck(level, state) else "open"


def stuck(level: Level, state: list[int]) -> set[int]:
    """Return the numbers of the boxes that prove a state to be a dead end."""
    boxes = frozenset(_cell(level, number) for number in state[1:-2] if 0 <= number < 64)
    return set(map(level.number, frozen(level, boxes)))
