"""Tests of Sudoku: against its oracle, the published searches and counts; forced moves; damaged streams; and twins."""

from __future__ import annotations

import json
import random
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drivers import hash_kernel
from naive import sudoku as naive
from sizes import plain
from sudoku_grids import SIZES, WHOLE_MAX, grid_of, name, problems_of, read_state, row_of, search_of, state_of

from sos.envs import protocol
from sos.envs.memory import memory
from sos.envs.sudoku.config import SudokuConfig
from sos.envs.sudoku.rules import HEURISTICS, HIDDEN, NAKED, Sudoku
from sos.envs.sudoku.solver import FIRST, SOLUTION, count_solutions
from sos.errors import UserError
from sos.kernels import allocating
from sos.search.run import run_search
from sos.stream.codec import encode
from sos.stream.dialect.compile import load_dialect
from sos.stream.verify import verify, verify_tokens
from sos.trace import ACTION, KIND, PARENT, Event, Flag, Outcome, Trace


@pytest.mark.parametrize("env", SIZES)
def test_drawn_puzzles_have_one_solution_and_the_clues_that_were_asked_for(env: Sudoku) -> None:
    seen, minimal = set(), 0
    num = plain(200 if env.size < 9 else 12, 3)
    for row in problems_of(env, num):
        grid = grid_of(row)
        assert not naive.clashes(grid)
        assert protocol.can_pose(env, row)
        (solution,) = naive.solutions(grid)
        clues = [cell for cell in range(env.num_cells) if grid[cell] != "0"]
        if len(clues) > env.max_clues:
            minimal += 1
            for cell in clues:
                others = naive.solutions(naive.put(grid, cell, 0))
                assert any(other != solution for other in others)
        else:
            assert len(clues) >= env.min_clues
        seen.add(grid)
    assert len(seen) > 0.8 * num
    assert (minimal > 0) == (env.max_clues == 0) or env.size == 6


def random_grids(rng: random.Random, size: int, num: int) -> list[str]:
    """Return grids between a puzzle and a full one, now and then with wrong digits."""
    env = {4: Sudoku(4, 4, 6), 6: Sudoku(6, 9, 12), 9: Sudoku(9, 25, 32)}[size]
    found = []
    for row in problems_of(env, num):
        grid = grid_of(row)
        for _ in range(rng.choice([0, 1, 2, 4, 8, 16, 40])):
            options = [(c, d) for c in naive.empty_cells(grid) for d in naive.candidates(grid, c)]
            if not options:
                break
            grid = naive.put(grid, *rng.choice(options))
        found.append(grid)
    return found


@pytest.mark.parametrize("size", [4, 6, 9])
def test_states_are_judged_as_by_the_oracle(size: int) -> None:
    """Status, what each kind of search sees, witnesses and their proofs, successors, and every action's judgement."""
    rng, env, counts = random.Random(size), Sudoku(size, 0, 0), {"dead": 0, "open": 0, "full": 0, "forced": 0}
    moves, values, child = np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros(env.state_width, np.int32)
    action, scratch = np.zeros(2, np.int32), np.zeros(1, np.int64)
    for grid in random_grids(rng, size, plain({4: 80, 6: 30, 9: 10}[size], 3)):
        state, problem = state_of(env, grid), row_of(grid)
        assert read_state(env, state) == grid
        proofs = naive.proofs(grid)
        full = not naive.empty_cells(grid)
        counts["full" if full else "dead" if proofs else "open"] += 1
        assert protocol.status(env, problem, state) == (protocol.GOAL if full else protocol.OPEN)
        for number in range(-20, 130):
            assert bool(protocol.proves_dead(env, problem, state, number)) == (number in proofs), number
        witness = int(protocol.witness(env, problem, state))
        assert witness in proofs if proofs else witness == 0
        for kind, called in enumerate(HEURISTICS):
            if full:
                continue
            dead = naive.is_dead(grid, called)
            assert protocol.status_by(env, kind, problem, state) == (protocol.DEAD if dead else protocol.OPEN)
            num = protocol.successors(env, kind, problem, scratch, state, moves, values)
            found = []
            for move in moves[:num]:
                protocol.make_child(env, problem, state, move, action, child)
                cell = (int(action[0]) // 10 - 1) * size + int(action[0]) % 10 - 1
                assert read_state(env, child) == naive.put(grid, cell, int(action[1]))
                found.append((cell, int(action[1]), bool(protocol.deduced(env, move))))
            assert found == naive.moves(grid, called)
        for cell, digit in product(range(env.num_cells), range(size + 2)):
            action[:] = name(env, cell), digit
            judged = protocol.judge(env, problem, state, action, child)
            if grid[cell] != "0":
                assert judged == protocol.NOT_HELD
                continue
            holds = digit in naive.candidates(grid, cell)
            assert judged == (protocol.HOLDS if holds else protocol.ILLEGAL)
            assert read_state(env, child) == (naive.put(grid, cell, digit) if 1 <= digit <= size else grid)
            forced = naive.is_forced(grid, cell, digit)
            assert bool(protocol.forced(env, problem, state, action)) == forced
            counts["forced"] += forced
    assert min(counts["dead"], counts["open"], counts["forced"]) >= plain(1, 0), counts


@pytest.mark.parametrize("cell", [-1, 0, 9, 10, 15, 51, 99, 2**31 - 1, -(2**31)])
def test_a_cell_that_is_none_is_not_held(cell: int) -> None:
    env, child = Sudoku(4), np.zeros(3, np.int32)
    action = np.array([cell, 1], np.int32)
    assert protocol.judge(env, np.zeros(16, np.int32), np.zeros(3, np.int32), action, child) == protocol.NOT_HELD
    assert not protocol.forced(env, np.zeros(16, np.int32), np.zeros(3, np.int32), action)
    assert not child.any()


def test_a_full_grid_is_a_goal_only_with_the_givens_and_without_a_clash() -> None:
    env, right = Sudoku(4), "1234341221434321"
    statuses = {
        ("1000000000000000", right): protocol.GOAL,
        ("2000000000000000", right): protocol.DEAD,
        ("1000000000000000", "1234341221434322"): protocol.DEAD,
        ("0000000000000000", "1234341221430321"): protocol.OPEN,
    }
    for (problem, grid), status in statuses.items():
        assert protocol.status(env, row_of(problem), state_of(env, grid)) == status


def test_what_can_be_posed() -> None:
    env, tried = Sudoku(4), 0
    for grid, possible in {
        "1000000000000000": True,
        "1100000000000000": False,
        "1000100000000000": False,
        "1000010000000000": False,  # in a box
        "1234341221434321": False,  # nothing is left to do
        "1234341221434320": True,
        "5000000000000000": False,
    }.items():
        assert protocol.can_pose(env, row_of(grid)) == possible
        tried += 1
    assert tried == 7
    assert not protocol.can_pose(env, np.array([-1] + [0] * 15, np.int32))


# Searches


@pytest.mark.parametrize("kind", HEURISTICS)
@pytest.mark.parametrize("env", SIZES)
def test_searches_are_the_oracles(env: Sudoku, kind: str) -> None:
    if env.size == 9 and kind == "none":
        pytest.skip("thousands of nodes")
    dialect, tried = load_dialect("compact", env, WHOLE_MAX), 0
    num = plain({4: 40, 6: 15, 9: 4}[env.size], 1)
    for row in problems_of(env, num):
        trace = run_search(search_of(kind), env, row, 20_000)
        tokens, _, _ = encode(dialect, trace)
        assert dialect.text(tokens) == naive.text(grid_of(row), kind)
        assert trace.outcome == Outcome.SOLVED
        assert not verify(env, trace).errors.any()
        tried += 1
    assert tried == num


@allocating
def count(env, problem, limit, solution):
    work = memory()
    found = count_solutions(env.size, problem, FIRST, limit, -1, work)
    for cell in range(len(solution)):
        solution[cell] = work[SOLUTION + cell]
    return found


def deduction(env: Sudoku, problem: np.ndarray, kind: int) -> str:
    """Follow forced moves alone."""
    state, child, action = state_of(env, grid_of(problem)), np.zeros(env.state_width, np.int32), np.zeros(2, np.int32)
    moves, values, scratch = np.zeros(env.size, np.int64), np.zeros(env.size, np.int64), np.zeros(1, np.int64)
    while protocol.status(env, problem, state) == protocol.OPEN:
        if protocol.status_by(env, kind, problem, state) == protocol.DEAD:
            return "dead"
        num = protocol.successors(env, kind, problem, scratch, state, moves, values)
        if num != 1 or not protocol.deduced(env, moves[0]):
            return "stuck"
        protocol.make_child(env, problem, state, moves[0], action, child)
        assert protocol.forced(env, problem, state, action)
        state[:] = child
    return "solved"


def records(reference: Path, file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (reference / "sudoku" / file).read_text().splitlines()]


def test_solutions_and_deductions_are_those_of_the_reference(reference: Path) -> None:
    tried, outcomes = 0, set()
    for record in records(reference, "instances.jsonl")[: plain(None, 5)]:
        env = Sudoku(record["size"], 0, 0)
        problem, solution = row_of(record["puzzle"]), np.zeros(env.num_cells, np.int64)
        assert protocol.can_pose(env, problem) == (not record["givens_clash"] and "0" in record["puzzle"])
        if record["givens_clash"]:
            continue
        assert count(env, problem, 5000, solution) == min(record["solutions"], 5000)
        if record["solutions"] == 1:
            assert grid_of(solution) == record["solution"]
        assert deduction(env, problem, NAKED) == record["naked"], record
        assert deduction(env, problem, HIDDEN) == record["naked_hidden"], record
        outcomes.add(record["naked_hidden"])
        tried += 1
    assert tried >= plain(60, 1)
    assert outcomes == {"solved", "stuck", "dead"} or not plain(1, 0)


def published(trace: Trace) -> str:
    """Return the published tokens of a search with `hidden`: clues apart, rcv for a move; 101 and the level before a first
    value; 102 for a dead end, and the level that it returns to, which is dead itself where it has no further value."""
    nodes, levels, flags = trace.nodes, {0: 1}, {0: 0}
    words: list[str] = []
    returned, dead = False, 0
    for kind, node, *_, flag in trace.events.tolist():
        if kind == Event.GENERATE:
            parent = int(nodes[node, PARENT])
            forced = bool(flag & Flag.FORCED)
            levels[node], flags[node] = levels[parent] + (not forced), flag
            if returned:
                deepest = levels[dead] - 1
                for level in range(deepest, levels[parent], -1):
                    words += [str(level), "102"]
                words.append(str(levels[parent]))
            elif not forced:
                words += ["101", str(levels[parent])]
            words.append(f"{nodes[node, ACTION]}{nodes[node, ACTION + 1]}")
            returned = False
        elif kind == Event.DEAD_END:
            words.append("102")
            returned, dead = True, node
        elif kind == Event.END:
            words.append("0")
    return " ".join(words)


def test_published_searches_are_equal(reference: Path) -> None:
    tried = guesses = 0
    env, search = Sudoku(9, 0, 0), search_of("hidden", 20_000)
    for record in records(reference, "dfs.jsonl")[: plain(None, 1)]:
        puzzle = record["puzzle"]
        trace = run_search(search, env, row_of(puzzle), 30_000)
        clues = [f"{c // 9 + 1}{c % 9 + 1}{puzzle[c]}" for c in range(81) if puzzle[c] != "0"]
        assert f"{' '.join(clues)} 100 {published(trace)}" == record["first"]["path"]
        assert (trace.events[:, KIND] == Event.DEAD_END).sum() <= record["first"]["dead_ends"]
        tried += 1
        guesses += record["first"]["guesses"]
    assert tried >= plain(20, 1)
    assert guesses > plain(20, -1)


# Streams


def test_published_answers_are_judged_by_cells_as_well(reference: Path) -> None:
    """A published check counts rows, columns and boxes alone: a cell told twice can pass it."""
    env, tried, fooled = Sudoku(9), 0, 0
    dialect = load_dialect("compact", env, WHOLE_MAX)
    for record in records(reference, "verdicts.jsonl")[: plain(None, 2)]:
        numbers = [int(number) for number in record["answer"].split()]
        triples = [numbers[k : k + 3] for k in range(0, len(numbers) - 2, 3)]
        puzzle, left, words = record["puzzle"], {}, []
        left = {c: puzzle[c] for c in range(81) if puzzle[c] != "0"}
        for r, c, d in triples:
            if left.get(9 * r + c) == str(d):
                del left[9 * r + c]
            else:
                words.append(f"? {r + 1}{c + 1} {d}")
        text = f"<bos> {' '.join(puzzle)} = {' '.join(words)} ! <eos>"
        ids = dialect.vocab.tokenizer().encode(text, add_special_tokens=False).ids
        solved = verify_tokens(dialect, env, row_of(puzzle), ids)[0].solved
        assert (solved and not left) == record["solves"], record["damage"]
        fooled += record["published_valid"] is True and not record["solves"]
        tried += 1
    assert tried >= plain(30, 2)
    assert fooled > plain(3, -1)


# Twins


@pytest.mark.parametrize("env", SIZES)
def test_twins_are_in_one_split(env: Sudoku) -> None:
    rng, key, hashes, tried = random.Random(2), np.uint64(7), set(), 0
    num = plain(40, 2)
    for row in problems_of(env, num):
        grid = grid_of(row)
        found = {int(hash_kernel(env, key, row))}
        for _ in range(plain(12, 3)):
            twin = naive.twin(rng, grid)
            found.add(int(hash_kernel(env, key, row_of(twin))))
            tried += 1
        if env.size > 4:  # the solution decides, whatever is shown of it
            (solution,) = naive.solutions(grid)
            found.add(int(hash_kernel(env, key, row_of(naive.twin(rng, solution)))))
        assert len(found) == 1
        hashes |= found
    assert tried == num * plain(12, 3)
    assert len(hashes) > {4: 10, 6: 8, 9: 38}[env.size] or not plain(1, 0)


def test_there_are_as_many_classes_as_there_are() -> None:
    """4x4: 36 minimal puzzles but for symmetries; 6x6: 49 grids at most."""
    minimal = {
        int(hash_kernel(Sudoku(4, 0, 0), np.uint64(1), row)) for row in problems_of(Sudoku(4, 0, 0), plain(9000, 2))
    }
    grids = {
        int(hash_kernel(Sudoku(6, 10, 12), np.uint64(1), row)) for row in problems_of(Sudoku(6, 10, 12), plain(3000, 2))
    }
    assert len(minimal) <= 36
    assert len(grids) <= 49
    assert (len(minimal) > 25 and len(grids) > 25) or not plain(1, 0)


@pytest.mark.parametrize("env", [Sudoku(4, 5, 7), Sudoku(6, 10, 12), *plain([Sudoku(9, 26, 30)], [])])
def test_both_splits_have_problems(env: Sudoku) -> None:
    num = plain(300 if env.size < 9 else 60, 5)
    splits = {split: {grid_of(row) for row in problems_of(env, num, split)} for split in ("train", "val")}
    assert not splits["train"] & splits["val"]
    hashes = {
        split: {int(hash_kernel(env, np.uint64(7), row_of(grid))) for grid in grids} for split, grids in splits.items()
    }
    assert not hashes["train"] & hashes["val"]
    assert min(len(grids) for grids in splits.values()) > num // 2


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"size": 5}, "env.size must be"),
        ({"min_clues": 8}, "env.min_clues=8 is more than env.max_clues=6"),
        ({"max_clues": 16}, "env.max_clues=16 leaves no cell empty: env.size=4 has 16"),
    ],
)
def test_grids_that_are_none_are_refused(keys: dict[str, int], message: str) -> None:
    with pytest.raises(UserError) as caught:
        SudokuConfig(**keys)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)
