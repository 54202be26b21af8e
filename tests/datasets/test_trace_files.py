"""Lines of traces say their environment where it is not the first one, and are checked by its rules."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from drivers import run_search
from toy_maze import Maze, MazeWords, walk

from sos.commands.cli import call
from sos.datasets import files
from sos.datasets.files import env_of, parse_trace, trace_line
from sos.envs.countdown.rules import Countdown
from sos.envs.registry import UNNAMED
from sos.envs.words import words_named
from sos.errors import UserError
from sos.search.depth_first import DepthFirst

PROBLEM = np.array([47, 3, 2, 17, 15], np.int32)


@pytest.fixture
def maze(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "words_named", lambda name: MazeWords if name == "maze" else words_named(name))


def countdown_line() -> str:
    return trace_line(run_search(DepthFirst(1, False, True, False), Countdown(num_numbers=3), PROBLEM), "dfs")


def test_a_line_of_the_first_environment_does_not_name_it() -> None:
    value = json.loads(countdown_line())
    assert list(value) == ["problem", "strategy", "events", "nodes", "states"]
    trace, strategy = parse_trace(value)
    named, _ = parse_trace({"env": UNNAMED, **value})
    assert strategy == "dfs"
    assert named.equals(trace)
    assert env_of(value, trace.problem) == Countdown(num_numbers=3)


@pytest.mark.usefixtures("maze")
def test_a_line_of_another_environment_is_read_back_by_its_name() -> None:
    value = json.loads(trace_line(walk().trace, "by hand", "maze"))
    assert value["env"] == "maze"
    trace, strategy = parse_trace(value)
    assert trace.equals(walk().trace)
    assert strategy == "by hand"
    assert env_of(value, trace.problem) == Maze()


@pytest.mark.usefixtures("maze")
@pytest.mark.parametrize(
    ("field", "wrong", "complaint"),
    [
        ("problem", [0, 4, 1], r"problem must be \[start, exit\]"),
        ("problem", [0, 5], r"problems\[0\] is no problem"),
        ("states", [[0], [1], [3], [2], [5]], r"states\[4\] is no state"),
        ("states", [[0, 0]] * 5, "states must hold rows of 1 whole numbers"),
        ("nodes", [[-1, 0, 0, 0], [0, 0, -1, 1], [1, 0, 1, 3], [0, 0, 0, 2], [3, 0, 2, 4]], r"nodes\[1\] is no node"),
        ("nodes", [[-1, 0, 0, 0, 0, 0]] * 5, "nodes must hold rows of 4 whole numbers"),
        ("env", "chess", "env must be one of countdown, .*got 'chess'"),
        ("env", None, "env must be one of countdown, .*got 'None'"),
        ("env", UNNAMED, r"problem must be \[target, count, numbers...\]"),
    ],
)
def test_a_wrong_line_of_another_environment_is_refused(field: str, wrong: object, complaint: str) -> None:
    value = json.loads(trace_line(walk().trace, "by hand", "maze"))
    with pytest.raises(UserError, match=complaint):
        parse_trace(value | {field: wrong})


def test_a_page_of_a_line_with_an_unknown_environment_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"env": "chess", **json.loads(countdown_line())}) + "\n")
    assert call("view", [f"traces={tmp_path / 't.jsonl'}", f"out={tmp_path / 'p.html'}"]) == 2
    error = capsys.readouterr().err
    assert "t.jsonl, line 1: env must be one of countdown, " in error
    assert "got 'chess'" in error
    assert error.count("\n") == 1
