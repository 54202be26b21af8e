"""Tests of the conversion from and to the published records: round trips, exact verification, damaged files."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drivers import all_searches, random_problem, read_jsonl, run_search
from places import GOLDEN

from sos import files
from sos.commands.cli import call
from sos.datasets.files import parse_trace, trace_line
from sos.envs.countdown.rules import Countdown
from sos.files import read_json_lines
from sos.published.metric import rate
from sos.published.names import join_name, published_strategies, split_name
from sos.published.records import FIELDS, from_record, to_record
from sos.published.solutions import first_solution, optimal_path
from sos.trace import Outcome, Trace

main = partial(call, "convert")


def published_record(row: dict[str, Any], name: str) -> dict[str, Any]:
    """Build the record that the published writer makes of a row of the reference."""
    entry = row["traces"][name]
    kind, *rest = name.split("-")  # such as bfs-sum-3
    search_type, heuristic = "_".join([kind, *rest[1:]]), f"{rest[0]}_heuristic"
    shared = {key: row[key] for key in ("nums", "target", "solution", "optimal_path")}
    return shared | {
        "search_path": entry["text"],
        "rating": entry["rating"],
        "search_type": search_type,
        "heuristic": heuristic,
    }


def careless_path(record: dict[str, Any]) -> str:
    """Write the solution as the published writer does, which drops every number equal to an operand."""
    state, text = record["nums"], f"Current State: {record['target']}:{record['nums']}, Operations: []\n"
    for step, operation in enumerate(record["solution"]):
        *operands, result = (int(number) for number in re.findall("[0-9]+", operation))
        state = [number for number in state if number not in operands] + [result]
        text += f"Exploring Operation: {operation}, Resulting Numbers: {state}\n"
        if len(state) == 1:
            text += f"{state[0]},{record['target']} equal: Goal Reached\n"
        else:
            text += f"Generated Node #{step + 2}: {state} from Operation: {operation}\n"
            text += f"Current State: {record['target']}:{state}, Operations: {record['solution'][: step + 1]}\n"
    return text


def golden_record() -> dict[str, Any]:
    """Build a record from a short published text in the repository."""
    row = next(row for row in read_jsonl(GOLDEN / "published_dfs.jsonl") if "Goal" in row["texts"]["dfs-sum"])
    text, numbers, target = row["texts"]["dfs-sum"], row["numbers"], row["target"]
    solution = first_solution(numbers, target)
    rating = rate(text).rating
    path = optimal_path(numbers, target, solution)
    values = (numbers, target, solution, text, rating, "dfs", path, "sum_heuristic")
    return dict(zip(FIELDS, values, strict=True))


def some_traces() -> list[tuple[Trace, str]]:
    """Return verified searches of solvable problems, with names, with every number count and outcome."""
    rng = np.random.default_rng(3)
    found = []
    for num_numbers in (2, 3, 4):
        env = Countdown(num_numbers, max_number=30)
        for name, strategy in all_searches():
            while True:
                problem = random_problem(rng, env)
                try:
                    first_solution(problem[2:], problem[0])
                except ValueError:
                    continue
                break
            found.append((run_search(strategy, env, problem), name))
    return found


def test_the_reference_survives_the_round_trip(reference: Path) -> None:
    num, right_paths = 0, 0
    for row in read_jsonl(reference / "traces.jsonl"):
        for name in row["traces"]:
            record = published_record(row, name)
            trace, strategy = from_record(record)
            assert strategy == name.replace("bfs", "beam").replace("-", "_")
            again = to_record(trace, strategy)
            right_paths += again["optimal_path"] == record["optimal_path"]
            assert again | {"optimal_path": careless_path(record)} == record
            num += 1
    assert num == 806
    assert 0.9 * num < right_paths < num


def test_records_of_our_traces_are_read_back() -> None:
    for trace, name in some_traces():
        record = json.loads(json.dumps(to_record(trace, name)))
        assert tuple(record) == FIELDS
        back = from_record(record)
        assert back.strategy == name
        assert back.trace.equals(trace)
        if trace.outcome == Outcome.SOLVED and trace.problem[1] > 2:
            assert rate(record["search_path"]).rating == record["rating"]


def test_names_in_both_wordings() -> None:
    assert split_name("beam_mult_3") == ("bfs_3", "mult_heuristic")
    assert split_name("dfs_sum") == ("dfs", "sum_heuristic")
    assert split_name("a_star") == ("a_star", "none")
    assert join_name("bfs_2", "sum_heuristic") == "beam_sum_2"
    for name in (*published_strategies(), "a_star", "beam", "dfs", "beam_sum", "dfs_sum_3"):
        assert join_name(*split_name(name)) == name


def test_no_name_is_lost() -> None:
    types = (
        "dfs",
        "bfs",
        "bfs_3",
        "bfs_03",
        "bfs_٣",
        "bfs_0",
        "a_star",
        "dfs_sum",
        "beam_mult_2",
        "x/y",
        "x/none",
        "",
        "/",
    )
    heuristics = ("sum_heuristic", "mult_heuristic", "sum", "none", "", "euclid", "sum_heuristic_heuristic")
    names = set()
    for search_type in types:
        for heuristic in heuristics:
            name = join_name(search_type, heuristic)
            assert split_name(name) == (search_type, heuristic), name
            names.add(name)
    assert len(names) == len(types) * len(heuristics)


def test_a_record_of_an_unknown_search_keeps_its_fields() -> None:
    record = golden_record() | {"search_type": "bfs", "heuristic": "mult_heuristic"}
    trace, strategy = from_record(record)
    back, name = parse_trace(json.loads(trace_line(trace, strategy)))
    assert to_record(back, name) == record


def test_a_solution_path_with_repeated_numbers_keeps_them() -> None:
    text = optimal_path([3, 3, 91, 60], 96, ["91-60=31", "3*31=93", "3+93=96"])
    assert "Generated Node #3: [3, 93] from Operation: 3*31=93\n" in text
    assert text.endswith("3+93=96, Resulting Numbers: [96]\n96,96 equal: Goal Reached\n")
    assert first_solution([3, 3, 91, 60], 96) == ["91-60=31", "3*31=93", "3+93=96"]


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("nums", [3, 4, "5"], "nums must be 2 to 6 whole numbers below 2**31, got [3, 4, '5']"),
        ("nums", [1] * 7, "nums must be 2 to 6 whole numbers"),
        ("target", True, "target must be a whole number from 1 to 1000000, got True"),
        ("target", 11, "search_path states target"),
        ("rating", "0.5", "rating must be a number from 0 to 1, got '0.5'"),
        ("rating", float("nan"), "rating must be a number from 0 to 1, got nan"),
        ("heuristic", None, "heuristic must be a text, got None"),
        ("solution", [], "solution ends with"),
        ("solution", ["9+9=18"], "solution uses"),
        ("solution", ["what"], "solution holds 'what', which is no operation"),
        *(
            ("solution", [wrong], f"solution holds '{wrong}', which is no operation".replace("+", r"\+"))
            for wrong in (
                "091-89=2",
                "91-089=2",
                "91-89=02",
                "+91-89=2",
                "91-89=2 ",
                "9_1-89=2",
                "٩١-٨٩=٢",
                "91-89=2.0",
            )
        ),
        ("search_type", None, "search_type must be a text, got None"),
        ("heuristic", "a/b", "heuristic must not hold '/', got 'a/b'"),
        ("note", "kept?", "the field 'note' is unknown and would be lost"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(field: str, value: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match="^" + complaint.replace("[", r"\[").replace("*", r"\*")):
        from_record(golden_record() | {field: value})


def test_every_step_of_a_record_is_verified() -> None:
    record = golden_record()
    from_record(record)
    text = record["search_path"]
    cut = text[: text.index("equal: Goal")]
    operation = text.split("Operation: ")[1].split(",")[0]
    wrong = operation[:-1] + str((int(operation[-1]) + 1) % 10)
    for damaged, complaint in (
        (text.replace(operation, wrong), r"search_path has a mistake \(\w+\): 'Exploring Operation: "),
        (text.replace("Goal Reached", "Goal reached"), "line [0-9]+ of search_path holds 'reached"),
        (cut, "search_path cannot be read from"),
        ("", "search_path cannot be read"),
        (text.replace("Current", "<eos>", 1), "line 1 of search_path holds '<eos> St'"),
    ):
        with pytest.raises(ValueError, match=complaint):
            from_record(record | {"search_path": damaged})
    unsolved = "".join(text.splitlines(True)[:1])
    with pytest.raises(ValueError, match=r"rating is .* and search_path does not solve"):
        from_record(record | {"search_path": unsolved})
    assert from_record(record | {"search_path": unsolved, "rating": 0}).trace.outcome == Outcome.EXHAUSTED
    with pytest.raises(ValueError, match="the field target is missing"):
        from_record({name: value for name, value in record.items() if name != "target"})
    with pytest.raises(ValueError, match="a record is an object"):
        from_record([record])


def test_lines_of_traces_are_read_back_or_refused() -> None:
    for trace, name in some_traces():
        value = json.loads(trace_line(trace, name))
        back, strategy = parse_trace(value)
        assert back.equals(trace)
        assert strategy == name
    for field, wrong, complaint in (
        ("events", [[0, 0, 0, 0, 0]], "events"),
        ("events", [[1, 2, 3]], "events must hold rows of 5 whole numbers"),
        ("events", [[9, *row[1:]] for row in value["events"]], r"events\[0\] is no event"),
        ("events", [[row[0], 10**6, *row[2:]] for row in value["events"]], r"events\[0\] is no event"),
        ("nodes", [[5, *row[1:]] for row in value["nodes"]], r"nodes\[0\] is no node"),
        ("nodes", "many", "nodes must hold rows"),
        ("nodes", [[2**40] * 6], "numbers from -1"),
        ("states", [[9, *row[1:]] for row in value["states"]], r"states\[0\] is no state"),
        ("problem", [1, 2], "problem must be"),
        ("strategy", 3, "strategy must be a text, got 3"),
    ):
        with pytest.raises(ValueError, match=complaint):
            parse_trace(value | {field: wrong})


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_arrays_are_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(files, "CHUNK", chunk)
    values: list[Any] = [{"a": [1, {"b": "]},"}]}, 12345, "x", {"c": None}, []]
    path = tmp_path / "array.json"
    for indent, lines in ((4, [2, 10, 11, 12, 15]), (None, [1] * 5)):
        path.write_text(json.dumps(values, indent=indent))
        assert list(read_json_lines(path)) == list(zip(lines, values, strict=True))
    path.write_text(" [ ]\n")
    assert list(read_json_lines(path)) == []
    for text, complaint in (
        ('[\n{"a": 1},\n{"a": ]', r"array.json:3: not JSON \(Expecting value\): '\{"),
        ("[1 2]", r"array.json:1: not JSON \(no comma"),
        ("[1,]", "array.json:1: not JSON"),
        ("[,1]", r"array.json:1: not JSON \(a comma too many"),
        ("[1", "array.json:1: not JSON"),
        ("[1] 2", "more behind the end of the array"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=complaint):
            list(read_json_lines(path))


def test_the_command_goes_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [to_record(trace, name) for trace, name in some_traces()]
    source, ours, theirs = tmp_path / "records.json", tmp_path / "traces.jsonl", tmp_path / "again.json"
    source.write_text(json.dumps(records, indent=4))
    assert main([str(source), f"out={ours}"]) == 0
    said = capsys.readouterr().out
    solved = sum(trace.outcome == Outcome.SOLVED for trace, _ in some_traces())
    assert said.startswith(f"read {len(records)}, valid {len(records)} ({solved} solved), invalid 0; ")
    assert main(["to=published", str(ours), f"out={theirs}"]) == 0
    assert json.loads(theirs.read_text()) == records
    assert main(["to=published", str(ours), f"out={theirs}", "lines=true"]) == 0
    assert [json.loads(line) for line in theirs.read_text().splitlines()] == records


def test_a_byte_order_mark_is_as_if_it_were_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "records.json", tmp_path / "traces.jsonl"
    said = []
    for mark in (b"", b"\xef\xbb\xbf"):
        for text in (json.dumps([golden_record()] * 2, indent=4), json.dumps(golden_record()) + "\n"):
            source.write_bytes(mark + text.encode())
            assert main([str(source), f"out={out}"]) == 0
            said.append((capsys.readouterr().out, out.read_text()))
    assert said[:2] == said[2:]
    assert said[0][0].startswith("read 2, valid 2 ")


def test_the_command_refuses_or_skips_what_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = golden_record()
    lines = [json.dumps(good), "{not json", json.dumps(good | {"target": 11}), json.dumps(good)]
    source, out = tmp_path / "records.jsonl", tmp_path / "traces.jsonl"
    source.write_text("\n".join(lines))
    assert main([str(source), f"out={out}"]) == 2
    said = capsys.readouterr()
    assert f"error: 2 of 4 are invalid, the first is {source}:2: not JSON" in said.err
    assert "'{not json'; nothing was written" in said.err
    assert f"invalid: {source}:3: search_path states target" in said.err
    assert list(tmp_path.iterdir()) == [source]
    assert main([str(source), f"out={out}", "skip_invalid=true"]) == 0
    assert "read 4, valid 2 (2 solved), invalid 2; dfs_sum 2" in capsys.readouterr().out
    assert len(out.read_text().splitlines()) == 2
    value = json.loads(out.read_text().splitlines()[0])
    value["events"][1][2] = 0
    out.write_text(json.dumps(value))
    assert main(["to=published", str(out)]) == 2
    assert "traces.jsonl:1: events[1] is a mistake (state)" in capsys.readouterr().err
    out.unlink()
    source.write_text("\n".join(lines[1:3]))
    for options in ([], ["skip_invalid=true"]):
        assert main([str(source), f"out={out}", *options]) == 2
        assert "2 of 2 are invalid" in capsys.readouterr().err
        assert not out.exists()
    for path, complaint in ((tmp_path / "missing.json", "No such file"), (tmp_path / "empty.json", "nothing in it")):
        (tmp_path / "empty.json").write_text("")
        assert main([str(path)]) == 2
        assert complaint in capsys.readouterr().err
