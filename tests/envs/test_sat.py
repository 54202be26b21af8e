"""Tests of 3-SAT: against its oracle and the reference, what is drawn, forced moves and witnesses, and twins."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drivers import hash_kernel
from formulas import DIALECTS, SIZES, WHOLE_MAX, literals_of, problems_of, search_of, state_of
from naive import sat as naive
from sizes import plain

from sos.data.splits import SOLVABLE, UNSOLVABLE
from sos.envs import protocol
from sos.envs.problems import which_solvable
from sos.envs.sat.config import SatConfig
from sos.envs.sat.moves import DEDUCED
from sos.envs.sat.rules import HEURISTICS, Sat
from sos.errors import UserError
from sos.search.run import run_search
from sos.stream.codec import encode
from sos.stream.dialect.compile import load_dialect
from sos.stream.verify import verify
from sos.trace import KIND, Event, Outcome


@pytest.mark.parametrize("env", SIZES)
def test_drawn_formulas_are_what_was_asked_for(env: Sat) -> None:
    num, seen, labels, kinds = plain(120, 6), set(), set(), set()
    rows = problems_of(env, num)
    solvable = which_solvable(env, rows)
    for row, has_model in zip(rows, solvable, strict=True):
        clauses = env.clauses(row)
        assert protocol.can_pose(env, row)
        names = naive.variables(clauses)
        assert all(len({abs(one) for one in clause}) == 3 for clause in clauses)
        assert len({frozenset(clause) for clause in clauses}) == len(clauses)
        assert len(clauses) in {int(n * env.ratio) for n in range(env.min_variables, env.max_variables + 1)}
        assert len(names) <= env.max_variables
        assert set(names) <= set(range(1, env.num_labels + 1))
        assert has_model == naive.has_model(clauses)
        assert env.row(clauses) == row.tolist()
        seen.add(env.problem_key(row))
        labels |= set(names)
        kinds.add(len(clauses))
    assert len(seen) > 0.9 * num
    assert labels == set(range(1, env.num_labels + 1)) or not plain(1, 0)
    assert len(kinds) == env.max_variables - env.min_variables + 1 or not plain(1, 0)
    share = solvable.mean()
    if env.satisfiable == 1:
        assert share == 1
    elif env.satisfiable == 0.5 and int(env.max_variables * env.ratio) > 8:
        assert 0.3 < share < 0.7 or not plain(1, 0)


def test_half_of_the_problems_have_a_solution_and_each_knows_its_kind_from_its_number() -> None:
    env, num = SIZES[0], plain(2000, 20)
    solvable = which_solvable(env, problems_of(env, num))
    assert abs(solvable.mean() - 0.5) < plain(0.04, 0.4)
    # The kind is the number's, not the draw's: another environment of the same share has the same kinds.
    other = which_solvable(SIZES[3], problems_of(SIZES[3], plain(300, 3)))
    assert np.array_equal(other, solvable[: len(other)])
    for wanted in (SOLVABLE, UNSOLVABLE):
        rows = problems_of(env, plain(50, 3), solvable=wanted)
        assert (which_solvable(env, rows) == bool(wanted)).all()


def random_states(rng: random.Random, env: Sat, num: int) -> list[tuple[np.ndarray, naive.Clauses, frozenset[int]]]:
    """Return (problem, clauses, literals that are true) of assignments of any number of variables."""
    found = []
    for row in problems_of(env, num):
        clauses = env.clauses(row)
        names = naive.variables(clauses)
        for _ in range(3):
            given = rng.sample(names, rng.randint(0, len(names)))
            found.append((row, clauses, frozenset(rng.choice([1, -1]) * name for name in given)))
    return found


@pytest.mark.parametrize("env", SIZES)
def test_states_are_judged_as_by_the_oracle(env: Sat) -> None:
    """Status, witnesses and their proofs, successors, every action's judgement, and every proof that it is forced."""
    rng, counts = random.Random(1), dict.fromkeys(("goal", "dead", "open", "forced", "pure", "unit"), 0)
    moves, values, child = np.zeros(4, np.int64), np.zeros(4, np.int64), np.zeros(2, np.int32)
    action, scratch = np.zeros(2, np.int32), np.zeros(env.scratch_size, np.int64)
    for problem, clauses, true in random_states(rng, env, plain(40, 3)):
        state, status = state_of(true), naive.status(clauses, true)
        counts[status] += 1
        found = protocol.status(env, problem, state)
        assert found == {"goal": protocol.GOAL, "dead": protocol.DEAD, "open": protocol.OPEN}[status]
        proofs = naive.falsified(clauses, true)
        assert protocol.witness(env, problem, state) == (proofs[0] if proofs else 0)
        for number in range(-2, len(clauses) + 3):
            assert bool(protocol.proves_dead(env, problem, state, number)) == (number in proofs)
        for kind, called in enumerate(HEURISTICS):
            if status != "open":
                continue
            protocol.prepare(env, kind, problem, scratch)
            num = protocol.successors(env, kind, problem, scratch, state, moves, values)
            told = []
            for move in moves[:num]:
                protocol.make_child(env, problem, state, move, action, child)
                (literal,) = literals_of(child) - true
                assert protocol.judge(env, problem, state, action, child) == protocol.HOLDS
                told.append((literal, bool(move & DEDUCED)))
            assert told == naive.moves(clauses, true, called)
        for number in range(-3, 2 * env.num_labels + 4):
            action[:] = number
            judged = protocol.judge(env, problem, state, action, child)
            variable = number // 2 + 1
            literal = -variable if number % 2 else variable
            held = variable in naive.variables(clauses) and variable not in map(abs, true)
            assert (judged == protocol.HOLDS) == held
            if not held:
                assert judged == protocol.NOT_HELD
                continue
            assert literals_of(child) == true | {literal}
            forced = naive.proofs(clauses, true, literal)
            for number in range(-1, len(clauses) + 3):
                assert bool(protocol.proves_forced(env, problem, state, action, number)) == (number in forced)
            assert bool(protocol.forced(env, problem, state, action)) == bool(forced)
            assert protocol.reason(env, problem, state, action) == min((n for n in forced if n), default=0)
            counts["forced"] += bool(forced)
            counts["pure"] += 0 in forced
            counts["unit"] += any(forced)
    assert min(counts["dead"], counts["open"], counts["forced"]) > plain(5, -1), counts
    assert counts["goal"] > plain(1, -1) or env.ratio > 4


def test_what_closes_a_state() -> None:
    env, problem = Sat(), np.zeros(Sat().problem_width, np.int32)
    cases: list[tuple[list[tuple[int, int]], bool]] = [
        ([], False),
        ([(0, 1)], False),
        ([(0, 1), (0, 1)], False),
        ([(0, 1), (1, 2)], False),
        ([(0, 1), (1, 1)], True),
        ([(0, 1), (1, 2), (0, 3), (0, 2)], True),
    ]
    for actions, closed in cases:
        rows = np.array([2 * variable - 2 + sign for sign, variable in actions], np.int32).reshape(-1, 1)
        assert bool(protocol.refuted(env, problem, np.zeros(2, np.int32), rows, len(rows))) == closed


def test_what_can_be_posed() -> None:
    env = Sat()
    formula = [[1, -2, 3], [-1, 2, 8], [4, 5, -6]]
    assert protocol.can_pose(env, np.array(env.row(formula), np.int32))
    bad = {
        "no clause": env.row([]),
        "too many": [*env.row(formula)[:-1], 31],
        "twice": env.row([[1, -2, 3], [3, 1, -2]]),
        "a tautology": env.row([[1, -1, 3]]),
        "a variable twice": env.row([[1, 1, 3]]),
        "no variable": env.row([[1, 2, 9]]),
        "variable 0": env.row([[1, 2, 0]]),
        "behind the end": [*env.row(formula)[:-1], 2],
        "no literal": [2 * env.num_labels, *env.row(formula)[1:]],
        "below 0": [-1, *env.row(formula)[1:]],
    }
    for name, row in bad.items():
        assert len(row) == env.problem_width, name
        assert not protocol.can_pose(env, np.array(row, np.int32)), name


# Searches


@pytest.mark.parametrize("kind", HEURISTICS)
@pytest.mark.parametrize("env", SIZES)
def test_searches_are_the_oracles(env: Sat, kind: str) -> None:
    dialects, tried, outcomes = {name: load_dialect(name, env, WHOLE_MAX) for name in DIALECTS}, 0, set()
    for row in problems_of(env, plain(40, 2)):
        trace = run_search(search_of(kind), env, row, 5000)
        for name, dialect in dialects.items():
            assert dialect.text(encode(dialect, trace)[0]) == naive.text(env.clauses(row), kind, name)
        verdict = verify(env, trace)
        assert verdict.solved
        assert not verdict.errors.any()
        assert verdict.refuted == (trace.outcome == Outcome.EXHAUSTED) == (not naive.has_model(env.clauses(row)))
        outcomes.add(trace.outcome)
        tried += 1
    assert tried == plain(40, 2)
    assert len(outcomes) == (2 if env.satisfiable == 0.5 and int(env.max_variables * env.ratio) > 8 else 1) or (
        env.satisfiable < 0 or not plain(1, 0)
    )


# The reference


def records(reference: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (reference / "sat" / "dpll.jsonl").read_text().splitlines()]


def sized(record: dict[str, Any]) -> tuple[Sat, np.ndarray]:
    """Return the environment and the row of a published formula, without the clauses that stand there before."""
    first: dict[frozenset[int], list[int]] = {}
    for clause in record["clauses"]:
        first.setdefault(frozenset(clause), clause)
    clauses = list(first.values())
    env = Sat(3, 8, len(clauses) / 8 + 0.01, 30, -1.0)
    return env, np.array(env.row(clauses), np.int32)


def test_the_reference_is_judged_right(reference: Path) -> None:
    """Labels, the models, and the searches that the published order makes; the oracle writes its text, byte for byte."""
    tried, kinds = 0, set()
    for record in records(reference)[: plain(None, 6)]:
        env, row = sized(record)
        assert protocol.can_pose(env, row)
        assert which_solvable(env, row[None])[0] == record["label"]
        clauses = env.clauses(row)
        if record["model"] is not None:
            assert naive.status(clauses, frozenset(record["model"])) == "goal"
            assert protocol.status(env, row, state_of(record["model"])) == protocol.GOAL
        trace = run_search(search_of("unit"), env, row, 5000)
        verdict = verify(env, trace)
        assert verdict.solved
        assert verdict.refuted == (not record["label"])
        assert (trace.events[:, KIND] == Event.GENERATE).sum() == record["text"].count("Try ") + record["units"]
        text, answer = naive.published(record["clauses"])
        assert answer == record["label"]
        assert f"{naive.published_formula(record['clauses'])} <|endofprompt|> {text}" == record["text"]
        kinds.add(record["label"])
        tried += 1
    assert tried >= plain(47, 6)
    assert kinds == {True, False}


# Twins


@pytest.mark.parametrize("env", SIZES)
def test_twins_are_in_one_split(env: Sat) -> None:
    rng, key, hashes, tried = random.Random(2), np.uint64(7), set(), 0
    num = plain(60, 3)
    for row in problems_of(env, num):
        clauses = env.clauses(row)
        found = {int(hash_kernel(env, key, row))}
        for _ in range(plain(12, 3)):
            twin = np.array(env.row(naive.twin(rng, clauses, env.num_labels)), np.int32)
            assert protocol.can_pose(env, twin)
            found.add(int(hash_kernel(env, key, twin)))
            tried += 1
        assert len(found) == 1
        hashes |= found
    assert tried == num * plain(12, 3)
    assert len(hashes) > (0.8 * num if env.min_variables > 4 else plain(20, 1))


@pytest.mark.parametrize("env", SIZES[:4])
def test_no_formula_of_val_has_a_twin_in_train(env: Sat) -> None:
    num = plain(300, 6)
    rows = {split: problems_of(env, num, split) for split in ("train", "val")}
    hashes = {split: {int(hash_kernel(env, np.uint64(7), row)) for row in found} for split, found in rows.items()}
    assert not hashes["train"] & hashes["val"]
    assert min(map(len, hashes.values())) > 2
    rng = random.Random(5)
    trained, tried = hashes["train"], 0
    for row in rows["val"]:
        twin = np.array(env.row(naive.twin(rng, env.clauses(row), env.num_labels)), np.int32)
        assert int(hash_kernel(env, np.uint64(7), twin)) not in trained
        tried += 1
    assert tried == num


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"min_variables": 7}, "env.min_variables=7 is more than env.max_variables=6"),
        ({"num_labels": 5}, "env.num_labels=5 is too few: env.max_variables=6 need a name each"),
        ({"satisfiable": -0.5}, "env.satisfiable must be a share from 0 to 1, or -1, got -0.5"),
        ({"min_variables": 3}, "env.ratio=5.0 asks for 15 clauses of 3 variables, which have 1 to 8"),
        ({"ratio": 0.1}, "env.ratio=0.1 asks for 0 clauses of 5 variables, which have 1 to 80"),
        ({"max_variables": 20, "num_labels": 20, "min_variables": 18, "ratio": 26.0}, "env.ratio=26.0 asks for 520"),
        ({"max_variables": 21}, "env.max_variables must be"),
        ({"num_labels": 31}, "env.num_labels must be"),
    ],
)
def test_sizes_that_are_none_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        SatConfig(**keys)
    assert str(caught.value).startswith(message)
