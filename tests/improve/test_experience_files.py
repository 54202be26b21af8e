"""Experiences on disk, as tables, and in figures; files that hold what no run writes are refused in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged_results import CONFIG, ROLLOUTS, write_readable_run
from hand_made import CONFIG as SMALL
from hand_made import DETOUR, FALSE_GOAL, PERFECT, PROBLEM, UNREADABLE, hand_made, stream, teacher_stream
from places import ROOT

from sos.commands.cli import call
from sos.commands.experience import HEADER, files_of, system_of
from sos.config import to_dict
from sos.data.splits import evaluation_problems
from sos.errors import UserError
from sos.improve import experience_files
from sos.improve.experience import BY_EVENT, BY_TOKEN, COLUMNS, Experience, concatenate, from_rollouts
from sos.improve.experience_files import ADDED, FORMAT, KEPT, load, save
from sos.improve.experience_states import repeated_states
from sos.improve.experience_summary import Row, error_counts, summary, table
from sos.interop import experience as interop
from sos.interop.experience import export_experience
from sos.model.rollout import Rollout
from sos.runs.rollouts import read_rollouts
from sos.stream.codec import decode
from sos.stream.verify import Error
from sos.system import System, build_system
from sos.trace import KIND, STATE, Event

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def system() -> System:
    return build_system(SMALL)


@pytest.fixture(scope="module")
def experience(system: System) -> Experience:
    return from_rollouts(system, np.stack([PROBLEM] * 5), hand_made(system), step=3, groups=[0, 0, 1, 1, 1])


def equal(one: Experience, other: Experience) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name == "logprobs") for name in COLUMNS
    )


def test_what_is_saved_is_loaded(experience: Experience, system: System, tmp_path: Path) -> None:
    path = tmp_path / "below" / "experience.npz"
    save(path, experience)
    for known in (None, system):
        found = load(path, known)
        assert equal(found, experience)
        assert all(getattr(found, name).dtype == getattr(experience, name).dtype for name in COLUMNS)
    # Whatever reads an evaluation's rollouts reads it, too.
    kept = read_rollouts(path, system)
    np.testing.assert_array_equal(kept.columns["num_errors"], experience.num_errors)
    np.testing.assert_array_equal(kept.columns["generated_tokens"], experience.lengths)
    with np.load(path) as stored:
        assert set(stored.files) == KEPT.keys()
    with pytest.raises(UserError, match="there are no rollouts to write"):
        save(tmp_path / "empty.npz", experience.select([]))
    assert not (tmp_path / "empty.npz").exists()


def test_a_write_that_fails_leaves_nothing(
    experience: Experience, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "experience.npz"
    save(path, experience)
    before = path.read_bytes()

    def half(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(experience_files.np, "savez_compressed", half)
    with pytest.raises(OSError, match="No space left"):
        save(path, experience)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_page_on_files_has_every_column() -> None:
    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    section = text[text.index("## An experience") :].partition("\n## ")[0]
    told = {
        name: (kind, shape)
        for name, kind, shape in re.findall(r"^\| `(\w+)` \| (\w+) \| \((\w).*?\) \|", section, re.M)
    }
    assert told == {
        name: (np.dtype(kind).name, "T" if name in BY_TOKEN else "E" if name in BY_EVENT else "R")
        for name, (kind, _, _, _) in ADDED.items()
    }


def put(array: np.ndarray, place: Any, value: Any) -> np.ndarray:
    changed = array.copy()
    changed[place] = value
    return changed


WRONG: dict[str, tuple[Callable[[Arrays], Arrays], str]] = {
    "group": (lambda a: {"groups": put(a["groups"], 1, -1)}, "groups must be 0 to"),
    "class": (lambda a: {"classes": put(a["classes"], 1, 9)}, "classes must be -1 to 4, got 9 in row 1"),
    "error": (lambda a: {"event_errors": put(a["event_errors"], 2, 15)}, "event_errors must be 0 to 14, got 15"),
    "told": (lambda a: {"token_errors": put(a["token_errors"], 2, -1)}, "token_errors must be 0 to 14, got -1"),
    "kind": (lambda a: {"event_kinds": put(a["event_kinds"], 0, 7)}, "event_kinds must be 0 to 6, got 7"),
    "reward": (lambda a: {"rewards": put(a["rewards"], 0, np.nan)}, "rewards must be -1e+300 to 1e+300, got nan"),
    "short logprobs": (lambda a: {"logprobs": a["logprobs"][1:]}, "offsets end at"),
    "short events": (lambda a: {"event_kinds": a["event_kinds"][1:]}, "event_offsets end at"),
    "events down": (lambda a: {"event_offsets": put(a["event_offsets"], 1, 10**6)}, "event_offsets do not ascend"),
    "prompt": (lambda a: {"num_prompt": put(a["num_prompt"], 4, 10**6)}, "the prompt of row 4 is longer"),
    "context": (lambda a: {"num_context": put(a["num_context"], 2, 100)}, "the prompt of row 2 is longer"),
    "texts": (lambda a: {"groups": a["groups"].astype("U3")}, "groups holds <U3, not int64"),
    "doubles": (lambda a: {"logprobs": a["logprobs"].astype("i4")}, "logprobs holds int32, not float32"),
}


@pytest.mark.parametrize("name", WRONG)
def test_arrays_that_no_run_writes_are_refused(name: str, experience: Experience, tmp_path: Path) -> None:
    change, reason = WRONG[name]
    path = tmp_path / "experience.npz"
    save(path, experience)
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **(arrays | change(arrays)))  # type: ignore[arg-type]
    with pytest.raises(UserError) as caught:
        load(path)
    assert str(caught.value).startswith(f"damaged {path}: {reason}")
    assert "\n" not in str(caught.value)


def test_a_missing_column_is_named(experience: Experience, tmp_path: Path) -> None:
    path, tried = tmp_path / "experience.npz", 0
    save(path, experience)
    with np.load(path) as stored:
        arrays = dict(stored)
    for name in KEPT:
        np.savez(path, **{other: array for other, array in arrays.items() if other != name})  # type: ignore[arg-type]
        with pytest.raises(UserError, match=rf"it holds (no {name}|only one of)"):
            load(path)
        tried += 1
    assert tried == len(FORMAT.required) > 20
    path.write_bytes(b"none")
    with pytest.raises(UserError, match=f"damaged {path}: "):
        load(path)
    with pytest.raises(UserError, match="no such file"):
        load(tmp_path / "none.npz")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with an evaluation's rollouts, all of the teacher."""
    return write_readable_run(tmp_path_factory.mktemp("kept") / "run")


def test_an_evaluation_becomes_an_experience(run: Path) -> None:
    system = system_of(run / ROLLOUTS)
    found = load(run / ROLLOUTS, system)
    problems = evaluation_problems(build_system(CONFIG).env, system.splits, "val", 6)
    np.testing.assert_array_equal(found.problems, problems)
    assert found.finished.all()
    assert not found.num_errors.any()
    assert np.isnan(found.logprobs_of(0)).all()
    assert found.groups.tolist() == list(range(6))
    with pytest.raises(UserError, match="its run's config is needed"):
        load(run / ROLLOUTS)


def test_a_stream_of_another_problem_is_refused(run: Path, tmp_path: Path) -> None:
    with np.load(run / ROLLOUTS) as stored:
        arrays = dict(stored)
    np.savez(tmp_path / ROLLOUTS, **arrays | {"problems": arrays["problems"][::-1]})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="the stream of row 0 does not begin with its problem"):
        load(tmp_path / ROLLOUTS, system_of(run / ROLLOUTS))


def test_states_that_come_again(system: System) -> None:
    """By hand, and on searches of the teacher, which skips such states, by sets of numbers."""
    solving = "3 * 4 = 12 [ 2 12 ] 2 + 12 = 14 !"
    texts = [solving, f"3 * 4 = 12 [ 2 12 ] 2 * 12 = 24 x < 0 [ 2 3 4 ] {solving}", UNREADABLE, ""]
    found = from_rollouts(system, np.stack([PROBLEM] * 4), [stream(system, text) for text in texts])
    assert repeated_states(system, found).tolist() == [0, 1, 0, 0]
    problems = evaluation_problems(system.env, system.splits, "val", 40)
    written = []
    for problem in problems:
        tokens, num_prompt, _ = teacher_stream(system, problem)
        logprobs = np.zeros(len(tokens) - num_prompt, np.float32)
        written.append(Rollout(tokens.astype(np.int32), num_prompt, True, logprobs))
    slow = []
    for rollout in written:
        trace = decode(system.dialect, system.env, rollout.tokens).trace
        rows = [0, *(event[STATE] for event in trace.events if event[KIND] == Event.GENERATE)]
        states = [tuple(sorted(trace.states[row][1 : 1 + trace.states[row][0]].tolist())) for row in rows]
        slow.append(len(states) - len(set(states)))
    assert repeated_states(system, from_rollouts(system, problems, written)).tolist() == slow
    assert len(slow) == 40


def figures(rows: list[Row]) -> dict[str, tuple[float | None, ...]]:
    return {row.name: tuple(row[1:]) for row in rows}


def test_figures_of_hand_made_rollouts(experience: Experience) -> None:
    found = figures(summary(experience, np.array([0, 1, 0, 0, 3])))
    assert found["rollouts"] == (5, 2, 3)
    assert found["problems"][0] == 2
    assert found["solved"][0] == pytest.approx(0.4)
    assert found["unfinished"] == pytest.approx((0.4, 0, 2 / 3))
    assert found["unreadable"] == pytest.approx((0.2, 0, 1 / 3))
    assert found["errors"] == pytest.approx((0.6, 0.5, 2 / 3))
    assert found["with errors"] == pytest.approx((0.6, 0.5, 2 / 3))
    assert found["errors that solve"][0] == pytest.approx(1 / 3)
    assert found["error/arithmetic"] == pytest.approx((0.2, 0.5, 0))
    assert found["error/false_goal"] == pytest.approx((0.2, 0, 1 / 3))
    assert found["repeated states"] == pytest.approx((0.8, 0.5, 1))
    assert found["tokens"][0] == pytest.approx(experience.lengths.mean())
    # Two groups, of two and of three: all right, all wrong.
    assert (found["groups all right"][0], found["groups all wrong"][0], found["groups mixed"][0]) == (1, 1, 0)
    assert found["pass@1"][0] == found["pass@2"][0] == 0.5
    assert "pass@4" not in found
    assert found["problems easy"][0] == found["problems hard"][0] == 0.5
    assert not [name for name in found if name.startswith("error/") and found[name][0] == 0]
    assert error_counts(experience, Error.ARITHMETIC).tolist() == [0, 1, 0, 0, 0]
    assert table(summary(experience)).splitlines()[2] == "| rollouts | 5 | 2 | 3 |"


def test_figures_of_measured_classes(experience: Experience) -> None:
    found = figures(summary(experience.replace(classes=[1, 1, 3, 3, 3])))
    assert found["problems medium"][0] == found["problems latent"][0] == 0.5
    single = experience.replace(groups=np.arange(5))
    assert not [name for name in figures(summary(single)) if name.startswith(("pass", "groups", "problems "))]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_rollouts_as_a_table(suffix: str, experience: Experience, system: System, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    both = concatenate([experience, experience.replace(logprobs=np.full(len(experience.tokens), np.nan))])
    assert export_experience(both, system, path) == 10
    if suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        rows = parquet.read_table(path).to_pylist()
    assert len(rows) == 10
    for number, row in enumerate(rows):
        i = number % 5
        assert row["input_ids"] == experience.tokens_of(i).tolist()
        assert (row["solved"], row["reward"], row["step"]) == (experience.solved[i], experience.rewards[i], 3)
        assert row["logprobs"] == ([0.0] if number < 5 else [None]) * len(row["input_ids"])
        assert len(row["token_errors"]) == len(row["input_ids"])
    assert rows[1]["errors"] == ["arithmetic"]
    assert [rows[i]["text"].split("\n")[-1] or rows[i]["text"] for i in (0, 1, 2, 3)]
    for number, text in enumerate((PERFECT, DETOUR, UNREADABLE, FALSE_GOAL)):
        assert rows[number]["text"].endswith(text)


def test_what_cannot_be_exported_is_one_line(
    experience: Experience, system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"must end in \.jsonl or \.parquet"):
        export_experience(experience, system, tmp_path / "rows.csv")
    monkeypatch.setattr(interop, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="Parquet needs pyarrow: pip install"):
        export_experience(experience, system, tmp_path / "rows.parquet")
    assert not list(tmp_path.iterdir())


def test_the_verb_tells_what_a_run_has_kept(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("experience", [str(run), f"out={tmp_path / 'figures.csv'}"]) == 0
    said = capsys.readouterr().out
    assert "| rollouts | 6 |" in said
    assert "| repeated states |" in said
    lines = (tmp_path / "figures.csv").read_text().splitlines()
    assert lines[0] == ",".join(HEADER)
    assert lines[1].startswith("rollouts_val.npz,rollouts,6.0,")
    assert call("experience", [str(run / ROLLOUTS), f"out={tmp_path / 'rows.jsonl'}"]) == 0
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 6


def test_the_verb_reads_what_improvement_wrote(
    run: Path, system: System, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also in a folder below the run's."""
    place = run / "rounds" / "experience_0003.npz"
    own = system_of(run / ROLLOUTS)
    save(place, concatenate([load(run / ROLLOUTS, own)] * 2).replace(groups=np.tile(np.arange(6), 2)))
    assert call("experience", [str(place)]) == 0
    said = capsys.readouterr().out
    assert "| rollouts | 12 |" in said
    assert "| pass@2 |" in said


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["NOWHERE"], "no such run or file"),
        (["RUN", "split=train"], "keeps no rollouts of split train"),
        (["FILE", "split=val"], "split=val is for a run folder"),
        (["RUN", "out=OUT/rows.txt"], "must end in .csv, .jsonl or .parquet"),
        (["LOST"], "lies in no run"),
    ],
)
def test_what_cannot_be_told_is_one_line(
    words: list[str], wrong: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = tmp_path / "a" / "b" / "c" / ROLLOUTS
    lost.parent.mkdir(parents=True)
    lost.write_bytes((run / ROLLOUTS).read_bytes())
    places = {"RUN": run, "FILE": run / ROLLOUTS, "OUT": tmp_path, "NOWHERE": tmp_path / "no", "LOST": lost}
    for name, place in places.items():
        words = [word.replace(name, str(place)) if word.startswith(name) or "=OUT" in word else word for word in words]
    assert call("experience", words) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert wrong in told
    assert told.count("\n") == 1


def test_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("rollouts_val.npz", "rollouts_val_target.npz", "experience_1.npz", "other.npz"):
        (tmp_path / name).write_bytes(b"")
    found = [path.name for path in files_of(tmp_path, None)]
    assert found == ["rollouts_val.npz", "rollouts_val_target.npz", "experience_1.npz"]
    assert [path.name for path in files_of(tmp_path, "val")] == ["rollouts_val.npz"]
    assert to_dict(SMALL)["data"]["context"] == 160
