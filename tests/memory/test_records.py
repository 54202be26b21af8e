"""Memories on disk: what is appended is read back, and one wrong line leaves nothing."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sos.compose import compose
from sos.context.items import Item, lesson_item, no_actions
from sos.context.lessons import Lesson
from sos.datasets.source import build_trace_source
from sos.errors import UserError
from sos.memory.records import Record, append, lesson_named, load, record_of
from sos.stream.codec import encode_prompt
from sos.system import System, build_system


@cache
def made() -> tuple[System, list[Record]]:
    config = compose(["experiment=smoke", "slot=lesson"])
    system = build_system(config)
    records = []
    for number, trace in enumerate(build_trace_source(config).chunk(0, 6).traces()):
        items = [lesson_item(system.env, Lesson(k % 12, k % 2 == 0, k % 4)) for k in range(number, 2 * number)]
        items += [Item(("demonstration", "transcript")[number % 2], no_actions(system.env), trace)] * (number > 3)
        query = encode_prompt(system.dialect, trace.problem)[1:]
        records.append(record_of(system.dialect, f"1-{number}", trace.problem, query, number % 3 == 0, items))
    return system, records


def written(folder: Path) -> Path:
    system, records = made()
    path = folder / "memory.jsonl"
    append(path, system.dialect, records)
    return path


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    system, records = made()
    path = tmp_path / "memory.jsonl"
    for first in (0, 2, 4):
        before = path.read_bytes() if first else b""
        append(path, system.dialect, records[first : first + 2])
        assert path.read_bytes().startswith(before)
    found = load(path, system.dialect)
    assert len(found) == 6
    for one, other in zip(found, records, strict=True):
        assert one[:3] == other[:3]
        assert np.array_equal(one.features, other.features)
        assert len(one.items) == len(other.items)
        for item, wanted in zip(one.items, other.items, strict=True):
            assert (item.name, item.lesson) == (wanted.name, wanted.lesson)
            if wanted.trace is not None:
                assert item.trace is not None
                assert np.array_equal(item.trace.events, wanted.trace.events)
    again = tmp_path / "again.jsonl"
    append(again, system.dialect, found)
    assert again.read_bytes() == path.read_bytes()


def test_lines_have_the_published_names(tmp_path: Path) -> None:
    system, records = made()
    line = json.loads(written(tmp_path).read_text().splitlines()[3])
    assert set(line) == {"task_id", "query", "status", "features", "memory_items"}
    assert line["status"] == "success"
    lesson = records[3].items[0].lesson
    assert lesson is not None
    assert line["memory_items"][0] == {
        "title": "avoid /",
        "description": "At the root, avoid / where target_above_product.",
        "content": "if target_above_product avoid /",
    }
    assert lesson_named(system.env, line["memory_items"][0]["content"]) == lesson


def changed(line: str, change: Any) -> str:
    value = json.loads(line)
    change(value)
    return json.dumps(value)


WRONG: dict[str, tuple[Any, str]] = {
    "cut": (lambda line: line[: len(line) // 2], "not JSON"),
    "list": (lambda line: "[1]", "a record is an object"),
    "missing": (lambda line: changed(line, lambda v: v.pop("status")), "status is missing"),
    "more": (lambda line: changed(line, lambda v: v.update(score=1)), "unknown key score; known are task_id"),
    "status": (
        lambda line: changed(line, lambda v: v.update(status="won")),
        "status must be success or fail, got 'won'",
    ),
    "query": (lambda line: changed(line, lambda v: v.update(query=3)), "query must be a text, got 3"),
    "features": (
        lambda line: changed(line, lambda v: v["features"].append("moon")),
        "features: unknown feature moon; known are one",
    ),
    "no list": (
        lambda line: changed(line, lambda v: v.update(features="target_odd")),
        "features must be a list of names",
    ),
    "items": (lambda line: changed(line, lambda v: v.update(memory_items={})), "memory_items must be a list"),
    "item": (
        lambda line: changed(line, lambda v: v["memory_items"][0].pop("title")),
        r"memory_items\[0\] must have the texts title",
    ),
    "rule": (
        lambda line: changed(line, lambda v: v["memory_items"][0].update(content="prefer *")),
        r"memory_items\[0\]: 'prefer \*' is no rule: if FEATURE prefer CLASS, or avoid",
    ),
    "feature": (
        lambda line: changed(line, lambda v: v["memory_items"][1].update(content="if full_moon prefer *")),
        r"memory_items\[1\]: 'if full_moon prefer \*': unknown feature full_moon; known are one_among",
    ),
    "class": (
        lambda line: changed(line, lambda v: v["memory_items"][0].update(content="if target_odd avoid %")),
        r"unknown class %; known are \+",
    ),
    "word": (
        lambda line: changed(line, lambda v: v["memory_items"][-1].update(content="9 what")),
        "unknown word 'what' of dialect compact",
    ),
    "stream": (
        lambda line: changed(line, lambda v: v["memory_items"][-1].update(content="9 9 9")),
        r"memory_items\[5\]: word \d of the transcript cannot be read",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_line_is_named_and_nothing_is_loaded(tmp_path: Path, name: str) -> None:
    damage, message = WRONG[name]
    path = written(tmp_path)
    lines = path.read_text().splitlines()
    lines[5] = damage(lines[5])
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=message) as error:
        load(path, made()[0].dialect)
    assert str(error.value).startswith(f"{path}:6: ")
    assert "\n" not in str(error.value)
