"""Tests of the published metric on text: parity with the data made by the published code, and its defects one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drivers import read_jsonl

from sos.published.metric import VALID, evaluate, node_alignment, parse_tree, rate

GOOD = """Current State: 47:[42, 61, 66], Operations: []
Exploring Operation: 66-42=24, Resulting Numbers: [61, 24]
Generated Node #0,0: 47:[61, 24] Operation: 66-42=24
Moving to Node #0,0
Current State: 47:[61, 24], Operations: ['66-42=24']
Exploring Operation: 61-24=37, Resulting Numbers: [37]
37,47 unequal: No Solution
Moving to Node #0
Current State: 47:[42, 61, 66], Operations: []
Exploring Operation: 61-42=19, Resulting Numbers: [66, 19]
Generated Node #0,1: 47:[66, 19] Operation: 61-42=19
Moving to Node #0,1
Current State: 47:[66, 19], Operations: ['61-42=19']
Exploring Operation: 66-19=47, Resulting Numbers: [47]
47,47 equal: Goal Reached
"""
REUSE = """Current State: 60:[20, 3, 5, 7], Operations: []
Exploring Operation: 20+20=40, Resulting Numbers: [40, 3]
Generated Node #0,0: 60:[40, 3] Operation: 20+20=40
Moving to Node #0,0
Current State: 60:[40, 3], Operations: ['20+20=40']
Exploring Operation: 40+20=60, Resulting Numbers: [60]
60,60 equal: Goal Reached
"""


def summary(text: str) -> dict[str, Any]:
    tree = parse_tree(text)
    return {
        "correctness": tree.correctness,
        "goal_reached": tree.goal_reached,
        "num_total_nodes": tree.num_total_nodes,
        "errors": tree.num_errors,
    }


def test_parity_with_the_published_metric_and_parser(reference: Path) -> None:
    records = [entry for row in read_jsonl(reference / "traces.jsonl") for entry in row["traces"].values()]
    records += read_jsonl(reference / "verdicts.jsonl")
    assert len(records) == 1286
    for record in records:
        assert rate(record["text"]) == (record["rating"], record["reason"])
        assert summary(record["text"]) == record["tree"]


def test_parity_with_the_published_alignment(reference: Path) -> None:
    states = {
        (*row["nums"], row["target"], name): parse_tree(entry["text"]).states()
        for row in read_jsonl(reference / "traces.jsonl")
        for name, entry in row["traces"].items()
    }
    rows = list(read_jsonl(reference / "alignment.jsonl"))
    assert len(rows) == 261
    for row in rows:
        problem = (*row["nums"], row["target"])
        assert node_alignment(states[*problem, row["a"]], states[*problem, row["b"]]) == row["alignment"]


def test_a_right_text() -> None:
    assert rate(GOOD) == (1 - 5 / 48, VALID)
    errors = {"arithmetic": 0, "exploration": 0, "formatting": 0, "other": 0}
    assert summary(GOOD) == {"correctness": 1, "goal_reached": 1, "num_total_nodes": 5, "errors": errors}
    assert parse_tree(GOOD).states() == {(42, 61, 66), (24, 61), (37,), (19, 66), (47,)}
    half = "".join(GOOD.splitlines(True)[:7])
    assert node_alignment(parse_tree(GOOD).states(), parse_tree(half).states()) == 3 / 5


def test_neither_the_metric_nor_the_parser_consumes_a_number() -> None:
    assert rate(REUSE) == (1 - 3 / 1152, VALID)
    assert summary(REUSE)["correctness"] == 1
    assert not any(summary(REUSE)["errors"].values())


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("Current State: 47:[42", "Current State 47:[42", "Invalid input: Cannot find the initial state in the first line."),
        ("47,47 equal", "47,47 unequal", "No goal reached statement found."),
        ("Exploring", "Trying", "No operations found leading to the goal."),
        ("66-19=47, R", "66-19==47, R", "Couldnt parse last op"),
        ("66-19=47, R", "66-19=48, R", "Invalid path: Final operation does not result in target."),
        ("['61-42=19']", "[]", "Could not split operation into lhs, rhs"),
        ("['61-42=19']", "['61-41=19']", "Invalid operation: 61-41=19"),
        ("['61-42=19']", "['60-41=19']", "Invalid operation: 60-41=19, number 60 not available in [42, 61, 66]"),
        ("66-19=47, R", "65-18=47, R", "Invalid operation: 65-18=47, number 65 not available in [42, 61, 66, 19]"),
        ("['61-42=19']", "['61/0=19']", "Error in evaluating operation 61/0=19: division by zero"),
    ],
)  # fmt: skip
def test_reasons(old: str, new: str, reason: str) -> None:
    assert old in GOOD
    assert rate(GOOD.replace(old, new)) == (0.0, reason)


def test_what_the_published_code_raises_on_has_no_rating() -> None:
    assert rate(GOOD.replace("[42, 61, 66]", "[42,61]")).rating is None
    assert rate(REUSE.replace("[20, 3, 5, 7]", "[20, 3, 5, 7, 9, 9]")).rating is None
    with pytest.raises(ValueError, match="Expecting value"):
        parse_tree(GOOD.replace("[42, 61, 66]", "[42,, 61]"))
    with pytest.raises(ValueError, match="initial state"):
        parse_tree("nothing").states()


def test_errors_of_each_kind_are_filed_under_their_node() -> None:
    wrong = parse_tree(GOOD.replace("Operation: 66-42=24\nM", "Operation: 66-42=25\nM"))
    assert wrong.errors["arithmetic"] == {(0, 0)}
    assert (24, 61) not in wrong.states()
    assert parse_tree(GOOD.replace("Node #0,1:", "Node #0,1,3,1:")).errors["exploration"] == {(0, 1, 3, 1), (0, 1)}
    assert parse_tree(GOOD.replace("47:[61, 24] Op", "47:[61,, 24] Op")).errors["formatting"] == {(0, 0)}
    assert parse_tree(GOOD.replace("61-24=37", "61-23=38")).errors["other"] == {(0, 0, 0)}


def test_expressions_are_arithmetic_and_never_executed(tmp_path: Path) -> None:
    assert evaluate(" 7*(2+3)-4/2") == 33
    assert evaluate("7,3") != 10
    with pytest.raises(NameError, match="name 'open' is not defined"):
        evaluate("open")
    for expression in (f"open('{tmp_path}/x', 'w')", "().__class__", "[n for n in 3]"):
        with pytest.raises((ValueError, NameError)):
            evaluate(expression)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="not arithmetic"):
        evaluate("[1] * 99999999999")
    deep = rate(GOOD.replace("66-19=47, R", f"{'-' * 20_000}19=47, R"))
    assert deep.rating == 0
    assert deep.reason.startswith("Error in evaluating operation ---")
    with pytest.raises(OverflowError):
        evaluate("9**9**9**9")
    with pytest.raises(SyntaxError):
        evaluate("05+1")
    with pytest.raises(TypeError, match="'int' object is not callable"):
        evaluate("5()")
