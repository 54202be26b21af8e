"""3-SAT in words, in the format of DIMACS and in lists: what is read back, what is explained, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from formulas import SIZES, problems_of, state_of
from naive import sat as naive
from sizes import plain

from sos.compose import compose
from sos.data.listed import read_problems
from sos.data.splits import UNSOLVABLE, sample_problems
from sos.envs.problems import which_solvable
from sos.envs.sat.dimacs import read_dimacs, write_dimacs
from sos.envs.sat.rules import Sat
from sos.envs.words import Mistake, words_of
from sos.errors import UserError
from sos.system import build_system

ENV = Sat()
WORDS = words_of(ENV)
CLAUSES = [[1, -2, 3], [-1, 2, 8], [4, 5, -6]]
ROW = np.array(ENV.row(CLAUSES), np.int32)


@pytest.mark.parametrize(
    ("error", "value", "more", "says"),
    [
        ("ORDER", 0, {}, "Node 3 leaves clauses that are not true yet, and falsifies none."),
        ("OPERAND", 0, {"before": [-2], "action": (2,)}, "2 has a value: ¬2 is true."),
        ("OPERAND", 0, {"before": [2], "action": (3,)}, "2 has a value: 2 is true."),
        ("OPERAND", 0, {"before": [2], "action": (12,)}, "7 is no variable of the formula."),
        ("STATE", 0, {}, "Node 3 is another assignment."),
        ("FALSE_GOAL", 0, {}, "Node 3 leaves a clause without a true literal, or was reached through a mistake."),
        ("FALSE_DEAD_END", 0, {}, "Every clause is true: this is the goal."),
        ("VALUE", 2, {}, "Clause 2, ¬1 ∨ 2 ∨ 8, is not falsified."),
        ("VALUE", 4, {}, "There is no clause 4."),
        ("VALUE", 0, {}, "There is no clause 0."),
        ("QUOTE", 0, {}, "It repeats a level or a clause, and differs from what was said before."),
    ],
)
def test_mistakes_are_explained(error: str, value: int, more: dict[str, list[int]], says: str) -> None:
    rows = {name: np.array(row, np.int32) if name == "action" else state_of(row) for name, row in more.items()}
    assert WORDS.explain(Mistake(error, ROW, 3, value, True, **rows)) == says  # type: ignore[arg-type]


def test_problems_read_back() -> None:
    typed = "1 -2 3 0 -1 2 8 0 4 5 -6 0"
    for text in (typed, f"[{typed.replace(' ', ',')}]", typed.replace(" ", ", ")):
        assert WORDS.parse_problem(text).tolist() == ROW.tolist()
    assert WORDS.row_of_record(WORDS.problem_record(ROW)).tolist() == ROW.tolist()
    assert WORDS.problem_text(ROW) == "(1 ∨ ¬2 ∨ 3) (¬1 ∨ 2 ∨ 8) (4 ∨ 5 ∨ ¬6) → all true"
    assert WORDS.task_text(ROW, state_of([3, 8])) == "make (4 ∨ 5 ∨ ¬6) true"
    assert WORDS.task_text(ROW, state_of([3, 8, 4])) == "make all clauses true"
    assert WORDS.state_parts(state_of([3, -8, 4])) == ["3", "4", "¬8"]
    assert WORDS.action_text(np.array([7])) == WORDS.made_part(np.array([7])) == "¬4"
    assert WORDS.verdict_text(ROW, False, 2) == "Clause 2 is falsified: a dead end."
    assert WORDS.draw(ROW, state_of([3, -8])) == {"kind": "clauses", "clauses": CLAUSES, "true": [3, -8]}
    for env in SIZES:
        for row in problems_of(env, plain(5, 1)):
            found = type(WORDS).env_of(row)
            assert (found.problem_width, found.clauses(row)) == (env.problem_width, env.clauses(row))
    with pytest.raises(UserError, match="problem must be the row of a formula"):
        type(WORDS).env_of(np.zeros(19, np.int32))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a formula has 1 to 30 clauses"),
        ("1 2 3", "the last clause is not ended by 0"),
        ("1 2 0", "clause 1: clause 1 2 has 2 literals, not 3"),
        ("1 2 3 0 0", "clause 2: the clause is empty"),
        ("1 2 3 0 1 -1 3 0", "clause 2: clause 1 -1 3 has a variable twice"),
        ("1 2 3 0 3 2 1 0", "clause 2: clause 3 2 1 stands there before, in this or another order"),
        ("1 2 9 0", "clause 1: clause 1 2 9 has variable 9, and env.num_labels=8"),
        ("1 x 3 0", "problem must be clauses of three literals"),
    ],
)
def test_what_is_no_formula_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        WORDS.parse_problem(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_records_that_are_none_are_refused() -> None:
    for record in ({}, {"clauses": 5}, {"clauses": ["1", 2, 3, 0]}, {"clauses": [1, 2, 3]}):
        with pytest.raises(UserError, match="clauses"):
            WORDS.row_of_record(record)


# DIMACS and lists


def test_formulas_are_written_and_read_back(tmp_path: Path) -> None:
    rows = problems_of(ENV, plain(40, 5))
    text = write_dimacs(ENV.clauses(row) for row in rows)
    assert [row for _, row in read_dimacs(ENV, text, "here")] == rows.tolist()
    (tmp_path / "several.cnf").write_text("c problems of mine\n\n" + text)
    read = read_problems(str(tmp_path / "several.cnf"), ENV, "eval.problems")
    assert np.array_equal(read, rows)
    (tmp_path / "lines.txt").write_text(
        "\n".join(" ".join(map(str, WORDS.problem_record(row)["clauses"])) for row in rows)
    )
    assert np.array_equal(read_problems(str(tmp_path / "lines.txt"), ENV, "eval.problems"), rows)
    np.save(tmp_path / "rows.npy", rows)
    assert np.array_equal(read_problems(str(tmp_path / "rows.npy"), ENV, "eval.problems"), rows)
    literals = np.zeros((len(rows), ENV.most_clauses, 3), np.int8)
    for k, row in enumerate(rows):
        literals[k, : len(ENV.clauses(row))] = ENV.clauses(row)
    np.save(tmp_path / "literals.npy", literals)
    assert np.array_equal(read_problems(str(tmp_path / "literals.npy"), ENV, "eval.problems"), rows)


def test_clauses_may_span_lines_and_files_may_end_as_those_of_satlib() -> None:
    text = "c a comment\np cnf 8 3\n 1 -2\n3 0 -1 2 8 0\n\n4 5 -6 0\n%\n0\n\n"
    assert [row for _, row in read_dimacs(ENV, text + "c next\n" + text, "here")] == [ROW.tolist(), ROW.tolist()]
    assert [line for line, _ in read_dimacs(ENV, text + text, "here")] == [2, 11]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3 0\n", ":1: a clause stands before p cnf VARIABLES CLAUSES"),
        ("p cnf 3\n", ":1: a formula begins with p cnf VARIABLES CLAUSES, got p cnf 3"),
        ("p cnf 3 x\n1 2 3 0\n", ":1: a formula begins with p cnf"),
        ("c\np cnf 3 2\n1 2 3 0\n0\n", ":4: the clause is empty"),
        ("p cnf 3 2\n1 2 3 0\n1 -2 4 0\n", ":3: literal 4 is out of range: the header says 3 variables"),
        ("p cnf 9 1\n1 2 9 0\n", ":2: clause 1 2 9 has variable 9, and env.num_labels=8"),
        ("p cnf 3 1\n1 2 3 0\n-1 2 3 0\n", ":3: the header says 1 clauses, and there are 2"),
        ("p cnf 3 2\n1 2 3 0\np cnf 3 1\n1 2 3 0\n", ":3: the header says 2 clauses, and there are 1"),
        ("p cnf 3 1\n1 2 3\n", ":2: clause 1 2 3 is not ended by 0"),
        ("p cnf 3 1\n1 2 0\n", ":2: clause 1 2 has 2 literals, not 3"),
        ("p cnf 3 1\n1 2 3 -1 0\n", ":2: clause 1 2 3 -1 has 4 literals, not 3"),
        ("p cnf 3 1\n1 2 -1 0\n", ":2: clause 1 2 -1 has a variable twice"),
        ("p cnf 3 2\n1 2 3 0\n2 1 3 0\n", ":3: clause 2 1 3 stands there before"),
        ("p cnf 3 1\n1 two 3 0\n", ":2: 'two' is no literal"),
        ("p cnf 3 1\n1 2 3 0\n%\n1 2 3 0\n", ":4: a clause stands behind %"),
        ("p cnf 3 0\n", ":1: a formula has 1 to 30 clauses"),
        ("c nothing\n", " holds no problem"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "odd.cnf"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_problems(str(path), ENV, "eval.problems")
    assert f"{path}{message}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("unsatisfiable", ":2: it has a solution, and the list says unsatisfiable"),
        ("UNSAT", ":2: it has a solution, and the list says UNSAT"),
        ("1 -2", ":2: '1 -2' leaves ¬1 ∨ 2 ∨ 8 without a true literal"),
        ("1 -1", ":2: '1 -1' says both of a variable"),
        ("maybe", ":2: 'maybe' is neither satisfiable nor unsatisfiable, nor literals that are true"),
        ("satisfiable", ""),
        ("1 2 4", ""),
        ("", ""),
    ],
)
def test_what_a_list_says_of_a_formula_has_to_be_right(tmp_path: Path, said: str, message: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"problem,solution\n1 -2 3 0 -1 2 8 0 4 5 -6 0,{said}\n")
    if not message:
        assert read_problems(str(path), ENV, "eval.problems").tolist() == [ROW.tolist()]
        return
    with pytest.raises(UserError) as caught:
        read_problems(str(path), ENV, "eval.problems")
    assert f"{path}{message}" in str(caught.value)


def test_a_list_poses_problems_of_both_kinds_as_they_are(tmp_path: Path) -> None:
    rows = problems_of(ENV, plain(60, 12))
    path = tmp_path / "list.cnf"
    path.write_text(write_dimacs(ENV.clauses(row) for row in rows))
    words = ["experiment=sat", "env.min_variables=5", "env.max_variables=6", "env.num_labels=8", "env.ratio=5"]
    words += ["data.val_fraction=0.5", "data.context=512"]
    system = build_system(compose([*words, "stream.whole_max=30", f"data.problems={path}"]))
    drawn = sample_problems(system.env, system.splits, "train", plain(200, 10))
    known = {env_key: naive.has_model(ENV.clauses(row)) for row in rows for env_key in [ENV.problem_key(row)]}
    solvable = which_solvable(system.env, drawn)
    assert [known[system.env.problem_key(row)] for row in drawn] == solvable.tolist()
    assert 0 < solvable.sum() < len(drawn)
    assert len(problems_of(ENV, 3, solvable=UNSOLVABLE)) == 3
