"""Tests of mazes: their problems, twins, actions and searches against an oracle and networkx."""

from __future__ import annotations

import random
from collections import Counter
from itertools import product
from typing import Any

import networkx
import numpy as np
import pytest
from drivers import hash_kernel
from hand_made_mazes import row_of
from naive import a_star as naive_search
from naive import maze as naive
from sizes import plain

from sos.config import Config
from sos.data.splits import make_splits, sample_problems
from sos.envs import protocol
from sos.envs.maze.config import MazeConfig
from sos.envs.maze.rules import Maze
from sos.envs.problems import wrong_rows
from sos.errors import UserError
from sos.judge.optima import optima
from sos.search import AStar, DepthFirst
from sos.search.depth_first_config import DepthFirstConfig
from sos.search.run import run_search
from sos.trace import KIND, NODE, VALUE, Outcome

SIZES = [
    Maze(),
    Maze(5, 5),
    Maze(4, 7, coordinates=True),
    Maze(7, 4),
    Maze(10, 10, 3, 5, True),
    Maze(6, 9, 1, 2),
    Maze(20, 20),
]


def problems_of(env: Maze, num: int, split: str = "train", seed: int = 3) -> np.ndarray:
    return sample_problems(env, make_splits(env, 0.2, 0.0), split, num, seed=seed)


def read(env: Maze, row: np.ndarray) -> naive.Maze:
    return naive.maze_of(row.tolist(), env.width, env.height, env.coordinates)


def drawn(rng: random.Random, env: Maze) -> naive.Maze:
    return naive.draw(rng, env.width, env.height, (env.min_walls, env.max_walls))


# Problems


@pytest.mark.parametrize("env", SIZES)
def test_problems_are_mazes_with_as_many_walls_and_ways_as_long_as_published(env: Maze) -> None:
    nums, cells, walls, num = set(), Counter[Any](), 0, plain(400 if env.width < 20 else 60, 4)
    for row in problems_of(env, num):
        maze = read(env, row)
        assert row_of(env, maze).tolist() == row.tolist()
        assert protocol.can_pose(env, row)
        assert naive.optimum(maze) + 1 >= max(env.width, env.height)
        nums.add(len(maze.walls))
        cells.update(maze.walls)
        walls += len(maze.walls)
    tens = env.num_cells // 10
    assert min(nums) >= tens * env.min_walls
    assert max(nums) <= tens * env.max_walls
    if plain(True, False) and env.width < 20:
        assert len(nums) > 0.8 * (tens * (env.max_walls - env.min_walls) + 1)
        share = walls / num / env.num_cells
        assert all(share / 2 < cells[cell] / num < 1.6 * share for cell in read(env, row).cells())


def test_layouts_and_pairs_are_drawn_as_those_of_the_published_sampler() -> None:
    """How many walls a maze has, how long its way is and how far the goal, beside the oracle's draws."""
    env, rng, num = Maze(6, 6), random.Random(4), plain(3000, 20)

    def measured(mazes: list[naive.Maze]) -> np.ndarray:
        return np.array([(len(m.walls), naive.optimum(m), m.estimate(m.start)) for m in mazes], float)

    ours, theirs = (
        measured([read(env, row) for row in problems_of(env, num)]),
        measured([drawn(rng, env) for _ in range(num)]),
    )
    error = np.sqrt((ours.var(0) + theirs.var(0)) / num)
    assert (np.abs(ours.mean(0) - theirs.mean(0)) < 4 * error).all()
    assert (np.abs(ours.std(0) / theirs.std(0) - 1) < plain(0.1, 1.0)).all()


@pytest.mark.parametrize("env", [Maze(4, 7, coordinates=True), Maze(5, 5), Maze(6, 9, 1, 2)])
def test_what_can_be_posed_is_a_maze(env: Maze) -> None:
    rng, counts = random.Random(5), [0, 0]
    for _ in range(plain(1500, 60)):
        row = row_of(env, drawn(rng, env))
        for _ in range(rng.choice([0, 1, 1, 2])):
            row[rng.randrange(len(row))] = rng.choice([-1, 0, 1, 2, 3, env.width, rng.randrange(env.num_cells + 2)])
        found = bool(protocol.can_pose(env, row))
        assert found == is_maze(env, row.tolist()), row.tolist()
        counts[found] += 1
    assert min(counts) > plain(300, 5)


def is_maze(env: Maze, row: list[int]) -> bool:
    if row[0] != env.shape or not 1 <= row[-1] <= env.most_walls:
        return False
    used = 1 + env.span * (2 + row[-1])
    if any(row[used:-1]):
        return False
    if env.coordinates:
        cells = list(zip(row[1:used:2], row[2:used:2], strict=True))
    else:
        cells = [(number % env.width, number // env.width) for number in row[1:used]]
    inside = all(0 <= x < env.width and 0 <= y < env.height for x, y in cells)
    start, goal, *walls = cells
    ordered = sorted(set(walls), key=naive.place) == walls
    return inside and ordered and start != goal and start not in walls and goal not in walls


# Twins


def layouts(env: Maze, split: str, num: int) -> list[frozenset[frozenset[Any]]]:
    return [frozenset(twin.walls for twin in naive.twins(read(env, row))) for row in problems_of(env, num, split)]


@pytest.mark.parametrize("env", SIZES[:5])
def test_twins_and_all_questions_of_a_layout_are_in_one_split(env: Maze) -> None:
    rng, key, hashes = random.Random(2), np.uint64(7), {}
    num = plain(60, 3)
    for row in problems_of(env, num):
        maze = read(env, row)
        free = [cell for cell in maze.cells() if maze.free(cell)]
        start, goal = rng.sample(free, 2)
        mazes = [*naive.twins(maze), maze._replace(start=start, goal=goal)]
        assert len(mazes) == (9 if env.width == env.height else 5)
        (found,) = {int(hash_kernel(env, key, row_of(env, twin))) for twin in mazes}
        hashes[found] = maze.walls
    assert len(hashes) == num
    wall = min(maze.walls)
    moved = maze._replace(walls=maze.walls - {wall} | {start if start not in maze.walls else goal})
    assert int(hash_kernel(env, key, row_of(env, moved._replace(start=goal, goal=wall)))) not in hashes


@pytest.mark.parametrize("env", [Maze(4, 4, 3, 3), Maze(4, 5, 1, 1)])
def test_no_layout_of_one_split_is_in_another_turned_or_reflected(env: Maze) -> None:
    """In grids so small that layouts recur."""
    num = plain(800, 20)
    train, val = (layouts(env, split, num) for split in ("train", "val"))
    assert len(set(train)) < num
    assert len(set(val)) < num
    assert not set(train) & set(val)


# States and actions


@pytest.mark.parametrize("env", [Maze(4, 7, coordinates=True), Maze(5, 5), Maze(6, 9, 1, 2)])
def test_actions_are_judged_as_by_the_oracle(env: Maze) -> None:
    """Every cell beside every cell, and some that are outside of the grid, with true facts and others."""
    rng, counts, child = random.Random(1), Counter[int](), np.zeros(env.state_width, np.int32)
    if env.coordinates:
        names = [list(name) for name in product([*range(env.width + 2), 90], [*range(env.height + 2), 90])]
    else:
        names = [[cell] for cell in [*range(env.num_cells + env.width + 1), 900, 2**31 - 1]]
    for row in problems_of(env, plain(3, 1)):
        maze = read(env, row)
        for before, to in product(names, names):
            cell = place_of(env, to)
            cost = rng.choice([0, 4, 2**31 - 1])
            facts = [cost + 1 + rng.choice([0, 0, 1, -1]), maze.estimate(cell) + rng.choice([0, 0, 1])]
            if max(facts) >= 2**31:
                continue
            state = np.array([*before, cost, 0], np.int32)
            action = np.array([*to, *facts], np.int32)
            judged = int(protocol.judge(env, row, state, action, child))
            place = naive.place(place_of(env, before))
            code = naive.judge(maze, [place, cost], [naive.place(cell), *facts])
            assert judged == {0: 0, 3: 1, 4: 2, 5: 3}[code]
            assert child.tolist() == action.tolist()
            goal = place_of(env, before) == maze.goal
            assert protocol.status(env, row, state) == (protocol.GOAL if goal else protocol.OPEN)
            counts[judged] += 1
    assert min(counts[code] for code in range(4)) > plain(20, 2)


def place_of(env: Maze, name: list[int]) -> naive.Cell:
    return (name[0], name[1]) if env.coordinates else (name[0] % env.width, name[0] // env.width)


@pytest.mark.parametrize("env", SIZES[:5])
def test_children_are_the_free_neighbours_in_the_published_order(env: Maze) -> None:
    moves, values, tried = np.zeros(4, np.int64), np.zeros(4, np.int64), 0
    action, child, scratch = (
        np.zeros(width, kind) for width, kind in ((env.action_width, np.int32),) * 2 + ((env.scratch_size, int),)
    )
    for row in problems_of(env, plain(10, 1)):
        maze = read(env, row)
        for cell in maze.cells():
            state = np.array([*env.named(cell[0] + env.width * cell[1]), 7, 1], np.int32)
            for kind in (0, 1):
                protocol.prepare(env, kind, row, scratch)
                num = protocol.successors(env, kind, row, scratch, state, moves, values)
                found = []
                for k in range(num):
                    protocol.make_child(env, row, state, moves[k], action, child)
                    found.append(place_of(env, action.tolist()))
                    facts = [8, maze.estimate(found[-1])]
                    assert action.tolist()[env.span :] == facts == child.tolist()[env.span :]
                    assert values[k] == (facts[1] if kind else 0)
                    action[env.span :] = -1
                    protocol.complete(env, row, state, action)
                    assert action.tolist() == child.tolist()
                assert found == maze.beside(cell)
                tried += 1
    assert tried == 2 * plain(10, 1) * env.num_cells


# Searches


@pytest.mark.parametrize("env", SIZES)
def test_searches_are_the_oracles_and_optimal(env: Maze) -> None:
    """A*, Dijkstra's search, greedy best-first and breadth-first search."""
    rng, tried, improved = random.Random(1), 0, 0
    kinds = [
        (AStar(1), {}),
        (AStar(0), {"informed": False}),
        (AStar(1, cost_weight=0), {"costs": False}),
        (AStar(0, ties=1), {"informed": False, "ties": "first"}),
    ]
    for _ in range(plain(40 if env.width < 20 else 4, 2)):
        maze = drawn(rng, env)
        row, graph = row_of(env, maze), naive.graph_of(maze)
        for strategy, options in kinds:
            found = naive_search.a_star(graph, naive.rules(maze, **options))
            trace = run_search(strategy, env, row, 4 * env.num_cells + 1)
            assert [tuple(event) for event in trace.events[:, [KIND, NODE, VALUE]].tolist()] == found.events
            best = naive.optimum(maze)
            assert trace.events[-2, VALUE] == best or strategy.cost_weight == 0
            improved += found.improved
            assert not found.reopened or strategy.cost_weight == 0
            tried += 1
    assert tried == 4 * plain(40 if env.width < 20 else 4, 2)
    assert improved > 0 or env.width < 20


def agree_with_networkx(env: Maze, num: int) -> int:
    """Compare ways, costs and the searches' with networkx; return how many mazes had an open cell improved."""
    rows = problems_of(env, num)
    best = optima(env, rows)
    assert best is not None
    improved = 0
    for row, cost in zip(rows, best, strict=True):
        maze = read(env, row)
        grid = networkx.grid_2d_graph(env.width, env.height)
        grid.remove_nodes_from(maze.walls)
        assert cost == networkx.shortest_path_length(grid, maze.start, maze.goal)
        trace = run_search(AStar(1), env, row, 4 * env.num_cells + 1)
        assert trace.events[-2, VALUE] == cost
        created = [tuple(state) for state in trace.states[:, : env.span].tolist()]
        improved += len(set(created)) < len(created)
    return improved


def test_costs_are_those_of_networkx() -> None:
    tried = [(env, plain(60, 2)) for env in SIZES]
    improved = sum(agree_with_networkx(env, num) for env, num in tried)
    assert improved > plain(10, -1)


@pytest.mark.slow
def test_ten_thousand_costs_are_those_of_networkx() -> None:
    assert sum(agree_with_networkx(env, 2000) for env in SIZES[:5]) > 100


def test_mazes_without_a_way_are_searched_to_the_end() -> None:
    env = Maze(5, 5)
    maze = naive.Maze(5, 5, (0, 0), (4, 4), frozenset((x, 4 - x) for x in range(5)))
    row = row_of(env, maze)
    assert protocol.can_pose(env, row)
    assert not protocol.solvable(env, row, env.proof_work())
    assert protocol.optimum(env, row, env.proof_work()) == -1
    for strategy in (AStar(1), DepthFirst(heuristic=0, skip_seen=True)):
        trace = run_search(strategy, env, row, 200)
        assert trace.outcome == Outcome.EXHAUSTED
        assert {naive.place((s[0] % 5, s[0] // 5)) for s in trace.states.tolist()} == {
            naive.place(cell) for cell in maze.cells() if sum(cell) < 4
        }


def test_the_largest_mazes_fit() -> None:
    env = Maze(30, 30)
    for row in problems_of(env, plain(20, 1)):
        trace = run_search(AStar(1), env, row, 4 * env.num_cells + 1)
        assert trace.events[-2, VALUE] == naive.optimum(read(env, row)) >= 29
    assert len(wrong_rows(env, problems_of(env, plain(20, 1)))) == plain(20, 1)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"width": 3}, "env.width"),
        ({"height": 31}, "env.height"),
        ({"min_walls": 5, "max_walls": 4}, "env.min_walls=5 is above env.max_walls=4"),
        ({"max_walls": 6}, "env.max_walls"),
        ({"min_walls": 0}, "env.min_walls"),
    ],
)
def test_impossible_sizes_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MazeConfig(**keys)


def test_a_search_that_would_go_round_in_circles_is_refused() -> None:
    for seen in (True, False):
        config = Config(env=MazeConfig())
        config.search = DepthFirstConfig(heuristic="none", skip_seen=seen, threshold="none")
        if seen:
            config.env.check_run(config)
            continue
        with pytest.raises(UserError, match=r"search\.skip_seen=false: in a maze a search would go round in circles"):
            config.env.check_run(config)
