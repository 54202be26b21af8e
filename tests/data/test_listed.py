"""Problems from a file: what is read, what is refused and where it stands, what is drawn, and which file it was."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drivers import hash_kernel
from naive import sudoku as naive
from sizes import plain
from sudoku_grids import grid_of, problems_of

from sos.compose import compose
from sos.config import Config, config_hash, to_dict
from sos.data.listed import num_in_val, read_problems
from sos.data.splits import evaluation_problems, sample_problems
from sos.datasets.make import Job, generate, make_job
from sos.datasets.source import build_source, build_trace_source, config_of, recipe
from sos.datasets.store import recipe_difference
from sos.envs.countdown.rules import Countdown
from sos.envs.sudoku.rules import Sudoku
from sos.errors import UserError
from sos.judge.problems import split_problems
from sos.runs.checkpoint import LoadedCheckpoint
from sos.runs.resume import check_same_run
from sos.system import build_system

WORDS = ["experiment=sudoku", "env.size=6", "env.max_clues=12", "data.context=512", "data.val_fraction=0.3"]
WORDS += ["env.min_clues=10", "stream.whole_max=76"]
GRIDS = {env.size: [grid_of(row) for row in problems_of(env, 60)] for env in (Sudoku(4, 5, 7), Sudoku(6, 10, 12))}


def solved(grid: str) -> str:
    (solution,) = naive.solutions(grid)
    return solution


def as_text(path: Path, grids: list[str]) -> None:
    path.write_text("# puzzles of mine\n\n" + "".join(f"{grid.replace('0', '.')}\n" for grid in grids), "utf-8")


def as_park(path: Path, grids: list[str]) -> None:
    path.write_text("quizzes,solutions\n" + "".join(f"{grid},{solved(grid)}\n" for grid in grids), "utf-8")


def as_rated(path: Path, grids: list[str]) -> None:
    with open(path, "w", newline="", encoding="utf-8-sig") as file:
        table = csv.writer(file)
        table.writerow(["source", "Question", "Answer", "rating"])
        table.writerows(["a, b", grid.replace("0", "."), solved(grid), 3] for grid in grids)


def as_array(path: Path, grids: list[str]) -> None:
    size = naive.size_of(grids[0])
    np.save(path, np.array([[int(digit) for digit in grid] for grid in grids], np.int8).reshape(-1, size, size))


def as_rows(path: Path, grids: list[str]) -> None:
    np.save(path, np.array([[int(digit) for digit in grid] for grid in grids], np.int64))


@pytest.mark.parametrize("size", GRIDS)
@pytest.mark.parametrize(
    ("write", "name"),
    [(as_text, "a.txt"), (as_park, "a.csv"), (as_rated, "b.CSV"), (as_array, "a.npy"), (as_rows, "b.npy")],
)
def test_every_form_of_a_list_is_read(tmp_path: Path, write: Any, name: str, size: int) -> None:
    grids = GRIDS[size][: plain(40, 3)]
    write(tmp_path / name, grids)
    rows = read_problems(str(tmp_path / name), Sudoku(size, 0, 0), "data.problems")
    assert rows.dtype == np.int32
    assert [grid_of(row) for row in rows] == grids


GRID = "1000002004000003"  # the puzzle of the examples, whose solution is 1234...
BAD = {
    "a digit is missing": (f"{GRID}\n{GRID[1:]}\n", ":2: a grid of 4x4 has 16 cells, got 15"),
    "another size": (f"{GRID}\n\n# {GRID}\n{'0' * 81}\n", ":4: a grid of 4x4 has 16 cells, got 81"),
    "a letter": (f"{GRID[1:]}x\n", ":1: 'x' is no digit, nor 0 or . for an empty cell"),
    "a large digit": (f"{GRID}\n5{GRID[1:]}\n", ":2: r1c1 is 5, which is no digit of a grid of 4x4"),
    "a clash in a row": ("1" + "001" + "0" * 12, ":1: r1c1 and r1c4, of one row, are both 1"),
    "a clash in a column": ("0200" + "0" * 8 + "0200", ":1: r1c2 and r4c2, of one column, are both 2"),
    "a clash in a box": ("3000" + "0300" + "0" * 8, ":1: r1c1 and r2c2, of one box, are both 3"),
    "nothing to do": ("1234341221434321", ":1: no cell is empty"),
    "two solutions": (f"{GRID}\n1{'0' * 15}\n", ":2: it has more than one solution"),
    "no solution": (f"{GRID}\n# one more\n1230" + "0004" + "0" * 8, ":3: it has no solution"),
    "control characters": ("1\x1b[2J", ":1: '\\x1b' is no digit"),
    "nothing": ("# empty\n\n", " holds no problem"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_a_bad_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text, "utf-8")
    with pytest.raises(UserError) as caught:
        build_system(compose(["experiment=sudoku", f"data.problems={path}"]))
    assert str(caught.value).startswith(f"data.problems={path}{message}")
    assert str(caught.value).isprintable()


SOLUTION = solved(GRID)
BAD_TABLES = {
    "another solution": (f"puzzle,solution\n{GRID},{SOLUTION}\n{GRID},{SOLUTION[::-1]}\n", ":3: its solution is"),
    "a cell is missing": (f"puzzle,solution\n{GRID}\n", ":2: 1 cells, and the header has 2"),
    "no header": ("", " has no header"),
    "nothing behind it": ("puzzle\n", " holds no problem"),
    "a header that is a puzzle": (f"id,puzzle\n1,{GRID}\n2,\n", ":3: a grid of 4x4 has 16 cells, got 0"),
}


@pytest.mark.parametrize(("text", "message"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_bad_line_of_a_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(UserError) as caught:
        read_problems(str(path), Sudoku(4), "eval.problems")
    assert f"{path}{message}" in str(caught.value)


def test_files_that_are_no_lists_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "floats.npy", np.zeros((3, 16)))
    np.save(tmp_path / "flat.npy", np.zeros(16, int))
    np.save(tmp_path / "objects.npy", np.array([{}, []], object))
    np.save(tmp_path / "odd.npy", np.array([[int(digit) for digit in GRID], [-1] * 16]))
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    messages = {
        "floats.npy": "must hold whole numbers",
        "flat.npy": "must hold whole numbers",
        "objects.npy": "is no array that can be read",
        "odd.npy": "odd.npy[1]: r1c1 is -1, which is no digit",
        "cut.npy": "is no array that can be read",
        "binary.txt": "binary.txt",
        "none.txt": "No such file",
    }
    for name, message in messages.items():
        with pytest.raises(UserError) as caught:
            read_problems(str(tmp_path / name), Sudoku(4), "data.problems")
        assert message in str(caught.value), name
        assert str(tmp_path / name) in str(caught.value)


def listed_config(path: Path, *words: str) -> Config:
    return compose([*WORDS, f"data.problems={path}", *words])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    as_text(tmp_path / "list.txt", GRIDS[6])
    return tmp_path / "list.txt"


def test_streams_are_drawn_from_the_list_and_split_by_symmetry_class(path: Path) -> None:
    system = build_system(listed_config(path))
    num = plain(400, 40)
    drawn = {split: sample_problems(system.env, system.splits, split, num) for split in ("train", "val")}
    grids = {split: {grid_of(row) for row in rows} for split, rows in drawn.items()}
    assert grids["train"] | grids["val"] == set(GRIDS[6]) or not plain(1, 0)
    assert grids["train"] | grids["val"] <= set(GRIDS[6])
    keys = {split: {int(hash_kernel(system.env, system.splits.key, row)) for row in drawn[split]} for split in drawn}
    assert not keys["train"] & keys["val"]
    part = sample_problems(system.env, system.splits, "train", 10, start=25)
    assert np.array_equal(part, drawn["train"][25:35])
    assert not np.array_equal(part, sample_problems(system.env, system.splits, "train", 10, start=25, seed=1))
    counts = [sum(grid_of(row) == grid for row in drawn["train"]) for grid in sorted(grids["train"])]
    assert max(counts) < 6 * num / len(counts)
    val = evaluation_problems(system.env, system.splits, "val", 1000)
    assert {grid_of(row) for row in val} >= grids["val"]
    assert num_in_val(system.env, system.splits, system.splits.listed) == len(
        [grid for grid in GRIDS[6] if grid in {grid_of(row) for row in val}]
    )
    assert len(system.splits.held_out) == 0


def test_a_list_of_another_order_holds_the_same_splits(path: Path, tmp_path: Path) -> None:
    as_text(tmp_path / "other.txt", random.Random(1).sample(GRIDS[6], len(GRIDS[6])))
    found = []
    for file in (path, tmp_path / "other.txt"):
        system = build_system(listed_config(file))
        found.append({grid_of(row) for row in evaluation_problems(system.env, system.splits, "val", 1000)})
    assert found[0] == found[1]
    assert len(found[0]) > 5


def test_traces_and_streams_are_of_problems_of_the_list(path: Path) -> None:
    config = listed_config(path)
    traces = build_trace_source(config).chunk(0, plain(80, 4))
    assert {grid_of(row) for row in traces.problems} <= set(GRIDS[6])
    system = build_system(config)
    chunk = build_source(config, system).chunk(0, plain(80, 4))
    for k in range(len(chunk.visits)):
        text = system.dialect.text(chunk.tokens[chunk.offsets[k] : chunk.offsets[k] + 36 + 1])
        assert "".join(text.split()).replace("<bos>", "")[:36] in GRIDS[6]


def test_a_list_without_problems_of_a_split_is_refused(tmp_path: Path) -> None:
    as_text(tmp_path / "one.txt", GRIDS[6][:1])
    with pytest.raises(UserError, match=r"none of its 1 problems is in (train|val), with data.val_fraction=0.3"):
        build_system(listed_config(tmp_path / "one.txt"))


def test_the_checksum_stands_in_the_recipe_and_the_path_does_not(path: Path, tmp_path: Path) -> None:
    config = listed_config(path)
    made = recipe(config, "traces", "train")
    assert made["data"]["problems_sha256"] == config.data.problems_sha256 != None  # noqa: E711
    assert "problems" not in made["data"]
    moved = tmp_path / "moved.txt"
    moved.write_bytes(path.read_bytes())
    assert recipe_difference(made, recipe(listed_config(moved), "traces", "train")) is None
    assert config_hash(config) == config_hash(listed_config(moved)) != config_hash(compose(WORDS))
    as_text(moved, GRIDS[6][:-1])
    other = listed_config(moved)
    assert config_hash(config) != config_hash(other)
    found = recipe_difference(made, recipe(other, "traces", "train"))
    assert found is not None
    assert found[0] == "data.problems_sha256"
    assert recipe_difference(made, recipe(compose(WORDS), "traces", "train")) is not None
    assert config_of({"recipe": made}).data.problems_sha256 == config.data.problems_sha256


def test_another_content_is_refused_where_a_run_goes_on(path: Path) -> None:
    config = listed_config(path)
    loaded = LoadedCheckpoint(to_dict(config), "", None, {}, {}, Path("last.ckpt"))
    check_same_run(listed_config(path), loaded)
    as_text(path, GRIDS[6][:-1])
    with pytest.raises(UserError, match=r"it was trained with data\.problems_sha256="):
        check_same_run(listed_config(path), loaded)
    with pytest.raises(UserError, match="is another file than it was: its checksum is"):
        build_system(config)  # as a checkpoint holds it
    path.unlink()
    with pytest.raises(UserError, match=r"data.problems=.*list.txt: No such file"):
        build_system(config)
    with pytest.raises(UserError, match=r"data.problems=.*list.txt: No such file"):
        listed_config(path)


def test_shards_of_another_list_are_refused(path: Path, tmp_path: Path) -> None:
    def job(config: Config, folder: str) -> Job:
        return make_job(config, kind="tokens", folder=tmp_path / folder, split="train", visits=64, shard_size=32)

    config = listed_config(path, "data.block=16", "data.match=problems", "data.train_problems=64")
    num = generate(job(config, "set"))  # the others do not fit the context
    assert num > 20
    config.data.shards = str(tmp_path / "set")
    assert len(build_source(config, build_system(config)).chunk(0, 64).visits) == num
    as_text(path, GRIDS[6][:-1])
    other = listed_config(path, "data.block=16", "data.match=problems", "data.train_problems=64")
    other.data.shards = config.data.shards
    with pytest.raises(UserError, match=r"was made with data.problems_sha256="):
        build_source(other, build_system(other))


def test_a_list_can_be_a_split_of_its_own(path: Path) -> None:
    as_text(path, [*GRIDS[6], GRIDS[6][3]])
    system = build_system(compose([*WORDS, f"eval.problems={path}", "eval.splits=[val,listed]"]))
    assert len(system.splits.listed) == 0  # trained on what is drawn
    assert len(system.listed) == len(GRIDS[6]) + 1
    rows = split_problems(system, "listed", 1000)
    assert [grid_of(row) for row in rows] == list(dict.fromkeys(GRIDS[6]))
    assert [grid_of(row) for row in split_problems(system, "listed", 7)] == GRIDS[6][:7]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["eval.splits=[listed]"], "eval.splits: listed needs a file of problems, eval.problems=FILE"),
        (["eval.problems=a.txt"], "eval.problems=a.txt has no use without listed among eval.splits"),
        (["eval.problems=a.txt", "eval.splits=[listed]"], "eval.problems=a.txt: No such file"),
        (["data.problems_sha256=ab"], "needs data.problems, which is null"),
        (["data.problems=a.txt"], "data.problems=a.txt: No such file"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        build_system(compose(words))
    assert message in str(caught.value)


def test_a_share_of_groups_has_no_use_beside_a_list(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("[24,1,2,3]\n", "utf-8")
    for word in ("data.held_out=[24]", "data.held_out_fraction=0.2"):
        with pytest.raises(UserError, match=r"has no use with data\.problems="):
            compose([f"data.problems={tmp_path / 'list.txt'}", word])


def test_any_environment_takes_a_list(tmp_path: Path) -> None:
    env, path = Countdown(3, 1, 20, 10, 100, 120), tmp_path / "list.txt"
    path.write_text("[24,4,6,1]\n10,2,3,4\n", "utf-8")
    rows = read_problems(str(path), env, "data.problems")
    assert rows.tolist() == [[24, 3, 4, 6, 1], [10, 3, 2, 3, 4]]
    np.save(tmp_path / "list.npy", rows)
    assert np.array_equal(read_problems(str(tmp_path / "list.npy"), env, "data.problems"), rows)
    path.write_text("[24,4,6,1]\n[99,1,1,1]\n", "utf-8")
    with pytest.raises(UserError, match=r"list.txt:2: it has no solution"):
        read_problems(str(path), env, "data.problems")
    path.write_text("[24,4,6,1]\n[24,4,6]\n", "utf-8")
    with pytest.raises(UserError, match=r"list.txt:2: "):
        read_problems(str(path), env, "data.problems")
    np.save(tmp_path / "list.npy", rows + 100)
    with pytest.raises(UserError, match=r"list.npy\[0\]: what stands there is none of 3 numbers in 1..20"):
        read_problems(str(tmp_path / "list.npy"), env, "data.problems")
