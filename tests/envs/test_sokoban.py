"""Tests of Sokoban: its levels, twins, moves, dead ends and searches against an oracle."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from drivers import hash_kernel
from hand_made_levels import level_of, row_of, state_of
from naive import sokoban as naive
from sizes import plain

from sos.config import Config
from sos.data.splits import make_splits, sample_problems
from sos.envs import protocol
from sos.envs.sokoban.config import SokobanConfig
from sos.envs.sokoban.moves import NO_ESTIMATE
from sos.envs.sokoban.rules import Sokoban
from sos.envs.words import words_of
from sos.errors import UserError
from sos.judge.optima import optima
from sos.search import AStar, DepthFirst
from sos.search.depth_first_config import DepthFirstConfig
from sos.search.run import run_search
from sos.trace import KIND, NODE, VALUE, Event, Outcome

THOROUGH = AStar(1, max_nodes=100_000)
PUBLISHED, SMALL = Sokoban(), Sokoban(6, 6, 1, 1, 1)
SIZES = [
    PUBLISHED,
    SMALL,
    Sokoban(6, 6, 2, 1, 3, show_dead_ends=True),
    Sokoban(7, 6, 1, 2, 2, open_docks=False, show_dead_ends=True),
    Sokoban(7, 7, 2, 1, 5, pushes=True, show_dead_ends=True),
    Sokoban(6, 7, 2, 2, 2, pushes=True),
    Sokoban(8, 8, 1, 1, 9, pushes=True, open_docks=False),
]


def problems_of(env: Sokoban, num: int, split: str = "train", seed: int = 3) -> np.ndarray:
    return sample_problems(env, make_splits(env, 0.2, 0.0), split, num, seed=seed)


def drawn(rng: random.Random, env: Sokoban) -> naive.Level:
    """Draw a level by the oracle, read as one of the environment."""
    walls = rng.randint(env.min_walls, env.max_walls)
    while True:
        try:
            level = naive.draw(rng, env.width, env.height, walls, env.boxes)
        except ValueError:  # the walls left no room for the boxes
            continue
        return level_of(env, row_of(env, level))


# Problems


@pytest.mark.parametrize("env", SIZES)
def test_problems_are_levels_with_a_solution_as_published(env: Sokoban) -> None:
    num, boxes = plain(100, 2), set()
    for row in problems_of(env, num):
        level = level_of(env, row)
        assert row_of(env, level).tolist() == row.tolist()
        assert protocol.can_pose(env, row)
        assert env.min_walls <= len(level.inner_walls()) <= env.max_walls
        assert all(2 <= x < env.width - 2 and 2 <= y < env.height - 2 for x, y in level.start.boxes)
        cells = [level.start.worker, *level.start.boxes, *level.docks]
        assert len(set(cells) - level.walls) == 1 + 2 * env.boxes
        boxes |= level.start.boxes
    assert len(boxes) == (env.width - 4) * (env.height - 4) or not plain(True, False)


def test_levels_are_drawn_as_those_of_the_published_sampler() -> None:
    """How long a solution is, and where everything stands, beside the oracle's draws."""
    rng, num = random.Random(4), plain(1500, 10)

    def measured(level: naive.Level) -> list[float]:
        near = sum(abs(x - a) + abs(y - b) for x, y in level.start.boxes for a, b in level.docks)
        return [naive.optimum(level), near, level.inner_walls()[0], *level.start.worker, *min(level.docks)]

    theirs = [level for level in (drawn(rng, SMALL) for _ in range(num)) if naive.optimum(level) > 0]
    ours = [level_of(SMALL, row) for row in problems_of(SMALL, len(theirs))]
    both = [np.array([measured(level) for level in levels]) for levels in (ours, theirs)]
    error = np.sqrt(sum(one.var(0) for one in both) / len(theirs))
    assert (np.abs(both[0].mean(0) - both[1].mean(0)) < 4 * error + 1e-9).all()
    assert 0.7 < len(theirs) / num <= 1.0 or not plain(True, False)


@pytest.mark.parametrize("env", [SIZES[0], SIZES[2]])
def test_what_can_be_posed_is_a_level(env: Sokoban) -> None:
    rng, counts = random.Random(5), [0, 0]
    for _ in range(plain(3000, 60)):
        row = row_of(env, drawn(rng, env))
        for _ in range(rng.choice([0, 0, 1, 1, 2])):
            row[rng.randrange(len(row))] = rng.choice(
                [-1, 0, 1, 2, 3, 63, 64, 2**31 - 1, rng.randrange(env.num_cells + 2)]
            )
        found = bool(protocol.can_pose(env, row))
        assert found == is_level(env, row.tolist()), row.tolist()
        counts[found] += 1
    assert min(counts) > plain(500, 5)


def is_level(env: Sokoban, row: list[int]) -> bool:
    shape, worker, *rest = row
    boxes, docks, walls = rest[: env.boxes], rest[env.boxes : 2 * env.boxes], rest[2 * env.boxes : -1]
    num = row[-1]
    if shape != env.shape or not 1 <= num <= env.max_walls or any(walls[num:]):
        return False
    walls = walls[:num]
    if any(sorted(set(cells)) != cells for cells in (boxes, docks, walls)):
        return False
    inside = {x + env.width * y for x in range(1, env.width - 1) for y in range(1, env.height - 1)}
    free = inside - set(walls)
    if not set(walls) <= inside or not {worker, *boxes, *docks} <= free:
        return False
    return worker not in boxes and boxes != docks


# Twins


@pytest.mark.parametrize("env", SIZES[:6])
def test_twins_and_all_workers_of_a_level_are_in_one_split(env: Sokoban) -> None:
    rng, key, hashes = random.Random(2), np.uint64(7), set()
    num = plain(40, 3)
    for row in problems_of(env, num):
        level = level_of(env, row)
        elsewhere = rng.choice(sorted(naive.area(level, level.start)))
        moved = level._replace(start=naive.State(elsewhere, level.start.boxes))
        twins = [*naive.twins(level), moved]
        assert len(twins) == (9 if env.width == env.height else 5)
        (found,) = {int(hash_kernel(env, key, row_of(env, twin))) for twin in twins}
        hashes.add(found)
    assert len(hashes) > 0.7 * num


def test_no_level_of_one_split_is_in_another_turned_or_reflected() -> None:
    """In grids so small that levels recur."""
    num = plain(600, 20)

    def kinds(split: str) -> list[frozenset[Any]]:
        levels = [level_of(SMALL, row) for row in problems_of(SMALL, num, split)]
        return [frozenset((t.walls, t.docks, t.start.boxes) for t in naive.twins(level)) for level in levels]

    train, val = kinds("train"), kinds("val")
    assert len(set(train)) < num
    assert len(set(val)) < num
    assert not set(train) & set(val)


# States and actions


def claims(rng: random.Random, env: Sokoban, level: naive.Level) -> tuple[list[int], list[int]]:
    """Make up a state and an action, most of them near the truth."""
    free = [level.number(cell) for cell in naive.area(level, level.start)]
    cells = [*free, *free, *range(env.num_cells), 63, 64, 900, 2**31 - 1]
    cost = rng.choice([0, 4, env.max_steps - 1, env.max_steps])
    boxes = rng.sample(free, env.boxes) if rng.random() < 0.9 else [rng.choice(cells) for _ in range(env.boxes)]
    state = [rng.choice(free if rng.random() < 0.9 else cells), *sorted(boxes), cost, rng.randrange(9)]
    near = [-env.width, env.width, -1, 1]
    if env.pushes:
        box = rng.choice(boxes if rng.random() < 0.8 else cells)
        action = [box, box + rng.choice(near) if rng.random() < 0.9 else rng.choice(cells)]
    else:
        action = [state[0] + rng.choice(near) if rng.random() < 0.9 else rng.choice(cells)]
    action = [min(max(number, 0), 2**31 - 1) for number in action]
    true = naive.claimed(level, state, action)[-2:]
    facts = [true[0] + rng.choice([0, 0, 0, 1]), max(0, true[1]) + rng.choice([0, 0, 0, 1])]
    return state, [*action, *facts]


@pytest.mark.parametrize("env", SIZES)
def test_actions_are_judged_as_by_the_oracle(env: Sokoban) -> None:
    rng, counts, child = random.Random(1), Counter[Any](), np.zeros(env.state_width, np.int32)
    levels = [level_of(env, row) for row in problems_of(env, plain(20, 2))]
    for _ in range(plain(1500, 100)):
        level = rng.choice(levels)
        row = row_of(env, level)
        before, said = claims(rng, env, level)
        state, action = np.array(before, np.int32), np.array(said, np.int32)
        judged = int(protocol.judge(env, row, state, action, child))
        assert judged == {0: 0, 3: 1, 4: 2, 5: 3}[naive.judge(level, before, said)], (before, said)
        assert child.tolist() == naive.child_of(level, before, said)
        status = {"open": protocol.OPEN, "goal": protocol.GOAL, "dead": protocol.DEAD}[naive.status(level, before)]
        assert protocol.status(env, row, state) == status
        stuck = naive.stuck(level, before)
        for value in (0, *before[1 : 1 + env.boxes]):
            assert protocol.proves_dead(env, row, state, value) == (value in stuck)
        assert protocol.witness(env, row, state) == (min(stuck) if stuck else before[-2])
        counts[judged] += 1
        counts["stuck"] += bool(stuck)
    assert min(counts[code] for code in [*range(4), "stuck"]) > plain(20, 0)


@pytest.mark.parametrize("env", SIZES)
def test_children_are_those_of_the_oracle_in_the_published_order(env: Sokoban) -> None:
    moves, values, tried = np.zeros(env.max_children, np.int64), np.zeros(env.max_children, np.int64), 0
    action, child, canonical = (np.zeros(width, np.int32) for width in (env.action_width, *[env.state_width] * 2))
    scratch, rng = np.zeros(env.scratch_size, np.int64), random.Random(6)
    for row in problems_of(env, plain(30, 2)):
        level = level_of(env, row)
        here, cost = level.start, 0
        protocol.prepare(env, 1, row, scratch)
        for _ in range(12):
            boxes = naive.numbers(level, here.boxes)
            state = np.array([level.number(here.worker), *boxes, cost, 5], np.int32)
            expected = naive.children(level, here)
            assert protocol.successors(env, 0, row, scratch, state, moves, values) == len(expected)
            assert not values[: len(expected)].any()
            protocol.successors(env, 1, row, scratch, state, moves, values)
            for k, (said, after) in enumerate(expected):
                protocol.make_child(env, row, state, moves[k], action, child)
                facts = [cost + 1, naive.estimate(level, after.boxes)]
                assert action.tolist() == [*(level.number(cell) for cell in said), *facts]
                assert child.tolist() == [level.number(after.worker), *naive.numbers(level, after.boxes), *facts]
                assert values[k] == facts[1]
                protocol.canonical(env, row, child, canonical)
                like = naive.same(level, after)
                assert canonical.tolist() == [level.number(like.worker), *naive.numbers(level, like.boxes), 0, 0]
                action[-2:] = -1
                protocol.complete(env, row, state, action)
                assert action.tolist()[-2:] == facts
                tried += 1
            if not expected:
                break
            here, cost = rng.choice(expected)[1], cost + 1
    assert tried > 10 * plain(30, 2)


def test_what_is_frozen_is_in_no_solved_state_that_follows() -> None:
    """Every state of small levels from which a box is called stuck: none of those that follow solves the level."""
    rng, tried, stuck_states = random.Random(9), 0, 0
    env = SIZES[2]
    for _ in range(plain(30, 2)):
        level = drawn(rng, env)
        for boxes in [frozenset(rng.sample(sorted(naive.area(level, level.start)), 2)) for _ in range(20)]:
            worker = rng.choice(sorted(naive.area(level, level.start) - boxes) or [level.start.worker])
            here = level._replace(start=naive.State(worker, boxes))
            if naive.frozen(level, boxes):
                assert naive.optimum(here) == -1
                stuck_states += 1
            row = row_of(env, here)
            if protocol.can_pose(env, row):
                assert protocol.optimum(env, row, env.proof_work()) == naive.optimum(here)
                tried += 1
    assert tried > plain(300, 5)
    assert stuck_states > plain(100, 0)


# Searches


@pytest.mark.parametrize("env", [SIZES[3], Sokoban(6, 6, 2, 4, 7), Sokoban(6, 6, 2, 4, 7, show_dead_ends=True)])
def test_searches_are_the_oracles(env: Sokoban) -> None:
    """A*, Dijkstra's search, greedy best-first and breadth-first search."""
    rng, tried = random.Random(1), 0
    kinds = [
        (AStar(1), {}),
        (AStar(0), {"informed": False}),
        (AStar(1, cost_weight=0), {"costs": False}),
        (AStar(0, ties=1), {"informed": False, "ties": "first"}),
    ]
    while tried < plain(4, 1):
        level = drawn(rng, env)
        places = naive.Places(level)
        if naive.in_corners(level) or not places.goals or not 10 < len(places.states) < plain(200, 60):
            continue
        row = row_of(env, level)
        for strategy, options in kinds:
            found = naive.search(places, **options)
            trace = run_search(strategy, env, row, env.tree_nodes)
            events = [told(places, found, event) for event in found.events]
            assert [tuple(event) for event in trace.events[:, [KIND, NODE, VALUE]].tolist()] == events
            assert trace.events[-2, VALUE] == naive.optimum(level) or strategy.cost_weight == 0
        tried += 1
    assert tried == plain(4, 1)


def told(places: naive.Places, found: Any, event: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return an event of the oracle's search, where a dead end quotes the first box that is stuck."""
    kind, node, _ = event
    if kind != Event.DEAD_END:
        return event
    level = places.level
    return kind, node, min(map(level.number, naive.frozen(level, places.states[found.nodes[node][2]].boxes)))


@pytest.mark.parametrize("env", SIZES[1:])
def test_costs_are_those_of_breadth_first_search_and_searches_find_them(env: Sokoban) -> None:
    assert agree(env, plain(20, 2)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("env", SIZES[1:])
def test_two_thousand_costs_are_those_of_breadth_first_search(env: Sokoban) -> None:
    assert agree(env, plain(2000, 2)) > 0


def agree(env: Sokoban, num: int) -> int:
    """Compare costs and the searches' with the oracle's, of levels with a solution and without; return how many had
    one."""
    rng, solved = random.Random(8), 0
    levels = [drawn(rng, env) for _ in range(num)]
    best = optima(env, np.array([row_of(env, level) for level in levels]))
    assert best is not None
    for level, cost in zip(levels, best.tolist(), strict=True):
        assert cost == naive.optimum(level)
        row = row_of(env, level)
        assert protocol.solvable(env, row, env.proof_work()) == (cost > 0)
        trace = run_search(THOROUGH, env, row, env.tree_nodes)
        assert (trace.outcome == Outcome.SOLVED) == (cost > 0)
        assert cost < 0 or trace.events[-2, VALUE] == cost
        solved += cost > 0
    return solved


REOPENED = "#######|#.  @ #|#     #|#  $ ##|#  .$##|#     #|#######"  # two of its states are visited again


def test_the_estimate_to_open_docks_reopens_states_and_the_other_never_does() -> None:
    for open_docks in (True, False):
        env = PUBLISHED._replace(max_walls=3, open_docks=open_docks)
        again = 0
        for row in [words_of(env).parse_problem(REOPENED), *problems_of(env, plain(20, 1))]:
            trace = run_search(THOROUGH, env, row, env.tree_nodes)
            visited = trace.events[trace.events[:, KIND] == Event.EXPAND, NODE]
            again += len(visited) - len({tuple(state) for state in trace.states[visited, : 1 + env.boxes].tolist()})
        assert again == 2 * open_docks or (open_docks and again > 2)


def test_a_plan_costs_no_more_than_is_allowed() -> None:
    short = SMALL._replace(max_steps=5)
    tried = Counter[bool]()
    for row in problems_of(SMALL, plain(60, 4)):
        cost = int(protocol.optimum(SMALL, row, SMALL.proof_work()))
        within = cost <= 5
        assert protocol.optimum(short, row, short.proof_work()) == (cost if within else -1)
        trace = run_search(THOROUGH, short, row, short.tree_nodes)
        assert trace.outcome == (Outcome.SOLVED if within else Outcome.EXHAUSTED)
        assert trace.states[:, -2].max() <= 5
        tried[within] += 1
    assert min(tried.values()) > 0


def test_a_state_without_a_true_estimate_is_no_child() -> None:
    level = naive.level_of(["######", "#    #", "# $@ #", "#   .#", "##   #", "######"])
    env = Sokoban(6, 6, 1, 1, 1)
    row, child = row_of(env, level), np.zeros(env.state_width, np.int32)
    state = np.array([2 + 6, 1 + 12, 3, 3], np.int32)  # the box beside the left wall, the worker above
    for estimate in range(9):
        action = np.array([1 + 6, 4, estimate], np.int32)
        true = estimate == naive.estimate(level, frozenset({(1, 2)}))
        assert protocol.judge(env, row, state, action, child) == (protocol.HOLDS if true else protocol.WRONG_RESULT)
    lost = naive.estimate(level, frozenset({(1, 1)}))
    assert lost == NO_ESTIMATE
    state = np.array([1 + 18, 1 + 12, 3, 3], np.int32)
    action = np.array([1 + 12, 4, 0], np.int32)
    assert protocol.judge(env, row, state, action, child) == protocol.WRONG_RESULT
    assert child.tolist()[:2] == [1 + 12, 1 + 6]


@pytest.mark.slow
def test_depth_first_search_ends() -> None:
    tried = 0
    for env in (SMALL, SIZES[3]):
        for row in problems_of(env, plain(5, 1)):
            trace = run_search(DepthFirst(heuristic=1, skip_seen=True, announce_leaves=False), env, row, env.tree_nodes)
            assert trace.outcome in (Outcome.SOLVED, Outcome.EXHAUSTED)
            tried += 1
    assert tried == 2 * plain(5, 1)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"width": 4}, "env.width"),
        ({"height": 9}, "env.height"),
        ({"min_walls": 3}, "env.min_walls=3 is above env.max_walls=2"),
        ({"width": 5, "boxes": 2, "height": 5}, "env.boxes=2 is above 1, the cells of 5x5 that are two steps away"),
        ({"width": 5, "height": 5, "boxes": 1, "max_walls": 7}, "env.max_walls=7 leaves 2 cells for a worker, 1 boxes"),
    ],
)
def test_impossible_sizes_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SokobanConfig(**keys)


def test_a_search_that_would_go_round_in_circles_is_refused() -> None:
    config = Config(env=SokobanConfig())
    config.search = DepthFirstConfig(heuristic="none", skip_seen=False, threshold="none")
    with pytest.raises(UserError, match=r"search\.skip_seen=false: in Sokoban a search would go round in circles"):
        config.env.check_run(config)


def test_states_read_back() -> None:
    level = drawn(random.Random(2), PUBLISHED)
    row = row_of(PUBLISHED, level)
    assert state_of(PUBLISHED, [int(row[1]), *row[2:4].tolist()]) == level.start
