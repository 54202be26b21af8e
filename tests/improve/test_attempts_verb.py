"""`sos attempts`: its tables, files and complaints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_run import untrained

from sos.analysis.attempts import (
    Budgets,
    Measured,
    arrays_of,
    branches,
    cell,
    check_alike,
    confusion,
    split_result,
    tables,
)
from sos.commands.cli import main
from sos.commands.output import held
from sos.errors import UserError
from sos.improve.attempts import Attempt, Decision
from sos.improve.attempts_chains import Chain
from sos.runs.folder import RunFolder
from sos.schema.improve_words import DECIDING


def test_the_tables_and_files_say_what_became_of_the_attempts(
    base: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["problems=12", "splits=[val]", "budgets=[2,1,6]", "samples=2", "stories=2"]
    place = str(base.path)
    (tmp_path / "one").mkdir()
    for name in ("attempts.json", "page.html"):  # of a killed process; only ours is removed
        (tmp_path / "one" / f".partial-7-{name}").write_text("half")
    assert main(["attempts", place, *words, f"out={tmp_path / 'one'}"]) == 0
    text = capsys.readouterr().out
    result = json.loads((tmp_path / "one" / "attempts.json").read_text())
    found = result["splits"]["val"]
    assert list(found["policies"]) == list(DECIDING)
    assert found["budgets"] == [1, 2, 6]
    for policy in DECIDING:
        kept = arrays_of(found, policy)
        assert len(kept.spent) == 24
        assert kept.spent.max() <= found["tokens"][-1]
        assert (kept.attempts[kept.solved_at < 0] > 1).any()
        rate = kept.solved(found["tokens"][-1]).mean()
        (line,) = (row for row in text.splitlines() if row.startswith(f"{policy} ") and "%" in row and "[" in row)
        assert f"{100 * rate:.1f}% [" in line
    assert (tmp_path / "one" / "attempts.png").stat().st_size > 5000
    assert [path.name for path in (tmp_path / "one").glob(".*")] == [".partial-7-page.html"]
    page = (tmp_path / "one" / "stories.html").read_text()
    assert "attempt 2: " in page
    copy = tmp_path / "copy"
    shutil.copytree(base.path, copy)
    both = [place, str(copy), *words[:-1], "stories=0", "policies=[rule,restart]", f"out={tmp_path / 'two'}"]
    assert main(["attempts", *both]) == 0
    runs = json.loads((tmp_path / "two" / "attempts.json").read_text())["runs"]
    assert len(runs) == 2
    for run in runs:  # the same draws, whoever else decides
        for policy in ("rule", "restart"):
            kept = run["splits"]["val"]["policies"][policy]
            assert kept == found["policies"][policy]
    assert "all 2 runs" in capsys.readouterr().out
    assert (base.path / "attempts" / "attempts.json").is_file()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "RUN is missing"),
        (["RUN", "policies=[rule,best]"], "policies must name some of rule, random"),
        (["RUN", "policies=[]"], "policies must name some of"),
        (["RUN", "policies=[rule,rule]"], "each once, got [rule,rule]"),
        (["RUN", "budgets=[]"], "budgets must name something, and each once, got []"),
        (["RUN", "budgets=[1,1]"], "budgets must name something, and each once, got [1.0,1.0]"),
        (["RUN", "budgets=[0]"], "budgets must be at least 0.1, got 0"),
        (["RUN", "budgets=[4000]"], "budgets must be at most 1000, got 4000"),
        (["RUN", "judge_flips=1.5"], "judge_flips must be at most 1, got 1.5"),
        (["RUN", "temperature=-1"], "temperature must be at least 0.0, got -1"),
        (["RUN", "splits=[test]"], "test"),
        (["RUN", "RUN/"], "/ is given twice"),
        (["RUN", "nowhere"], "out=FOLDER is missing: 2 runs have one table"),
        (["nowhere"], "nowhere"),
    ],
)
def test_what_no_run_can_do_is_one_line(
    words: list[str], complaint: str, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attempts", *(word.replace("RUN", str(run.path)) for word in words)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert complaint in error
    assert not (run.path / "attempts").exists()


@pytest.mark.parametrize("verb", ["attempts", "recovery"])
def test_runs_that_are_asked_others_have_no_common_table(
    verb: str, run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = untrained(tmp_path / "other", "env.num_labels=9").path
    assert main([verb, str(run.path), str(other), "problems=4", "splits=[val]", f"out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert error == f"error: {run.path} and {other} are not asked the same problems of split val\n"
    assert not (tmp_path / "out").exists()


def test_a_split_that_one_run_lacks_is_not_asked_alike() -> None:
    rows = np.zeros((3, 2), np.int32)
    check_alike({"a": {"val": rows}, "b": {"val": rows.copy()}})
    for posed in ({"val": rows}, {"val": rows, "val_target": rows}), ({"val": rows, "val_target": rows}, {"val": rows}):
        with pytest.raises(UserError, match="a and b are not asked the same problems of split val_target"):
            check_alike(dict(zip("ab", posed, strict=True)))


@pytest.mark.parametrize("verb", ["attempts", "recovery", "evaluate"])
def test_of_two_commands_at_once_in_a_folder_the_second_is_refused(
    verb: str, run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with held(verb, ["*.json"], out):
        assert main([verb, str(run.path), f"out={out}"]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: another sos {verb} is writing into {out} (process ")
        assert error.count("\n") == 1
    assert not out.exists()  # it held nothing


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return untrained(tmp_path_factory.mktemp("untrained") / "run")


def chain(solved_at: int, spent: int, attempts: int, branch: dict[Decision, tuple[bool, int]] | None = None) -> Chain:
    empty = np.zeros(0, np.float32)
    attempt = Attempt(np.zeros(9, np.int32), 3, 3, 0, True, empty, Decision.FIRST)
    following = [attempt._replace(decision=Decision.REFINE)] * (attempts - 1)
    right = solved_at >= 0
    made = Chain(np.zeros(2, np.int32), 0, attempts=[attempt, *following], spent=spent, solved_at=solved_at)
    made.accepted = made.right = right
    made.ended = Decision.PROCEED if right else Decision.RESTART
    made.branches = [branch] if branch else []
    return made


def test_rates_differences_and_intervals_are_those_of_plain_counting() -> None:
    """Two runs of four problems with two samples each."""
    rng = np.random.default_rng(0)
    results: list[dict[str, Any]] = []
    for _ in range(2):
        found = {}
        for policy in ("rule", "restart"):
            at = rng.integers(-1, 60, 8)
            found[policy] = [chain(int(a), max(int(a), 10), 1) for a in at]
        results.append(split_result(found, Budgets((1.0, 4.0), 10.0), 4, 2) | {"digest": "x"})
    for k, tokens in enumerate((10, 40)):
        means = {}
        for policy in ("rule", "restart"):
            rows = [
                [
                    np.mean([0 <= run["policies"][policy]["solved_at"][2 * p + s] <= tokens for s in (0, 1)])
                    for p in range(4)
                ]
                for run in results
            ]
            means[policy] = np.mean(rows, 0)
        found_cell = cell(results, "rule", k)
        assert found_cell.solved.value == pytest.approx(means["rule"].mean())
        difference = means["rule"] - means["restart"]
        assert found_cell.minus is not None
        assert found_cell.minus.value == pytest.approx(difference.mean())
        half = 1.959964 * difference.std(ddof=1) / 2
        assert found_cell.minus.high == pytest.approx(difference.mean() + half, abs=1e-6)
        assert found_cell.seeds is not None
        spent = [min(s, tokens) for run in results for s in run["policies"]["rule"]["spent"]]
        assert found_cell.spent == pytest.approx(np.mean(spent))
    assert "4 problems, 2 runs; a first attempt has 10 tokens" in tables([{"splits": {"val": r}} for r in results])
    assert Measured(np.array([-1, 0, 5]), *[np.zeros(3)] * 4).solved(4).tolist() == [False, True, False]


def test_the_confusion_counts_what_both_branches_would_have_done() -> None:
    from sos.improve.attempts import Diagnosis, Finding
    from sos.trace import Trace

    nothing = np.zeros((0, 5), np.int32)
    wrong = Finding(Diagnosis.WRONG_STEP, 0, -1, Trace(*[nothing] * 4), nothing[:, 0], nothing[:, 0])
    outcomes = [
        {Decision.REFINE: (True, 5), Decision.PIVOT: (False, 9)},
        {Decision.REFINE: (True, 5), Decision.PIVOT: (True, 9)},
        {Decision.REFINE: (False, 5)},
        {Decision.REFINE: (False, 5), Decision.PIVOT: (True, 9)},
    ]
    oracle = [chain(20, 20, 2, branch) for branch in outcomes] + [chain(5, 5, 1)]
    rule = [chain(20, 20, 2) for _ in range(4)] + [chain(5, 5, 1)]
    for made in oracle:
        made.findings = [wrong]
    table = confusion({"rule": rule, "oracle": oracle})["rule"]
    assert table == {"refine": {"both": 1, "refine": 1, "pivot": 1, "neither": 1}}
    found = branches({"oracle": oracle})["wrong_step"]
    assert found["num"] == 4
    assert found["refine"] == {"tried": 4, "solved": 2, "tokens": 5.0}
    assert found["pivot"] == {"tried": 3, "solved": 2, "tokens": 9.0}
