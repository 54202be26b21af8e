"""A memory: records of experiences, in a file of JSON lines that is only appended to.

A line is an object with the names that ReasoningBank published: `task_id`, `query`, `status` ("success" or "fail", as
the judge said) and `memory_items`, each with `title`, `description` and `content`; and, beside these, `features`, the
names of the features of the task's problem, by which records are found again. The content of a lesson is its rule,
`if FEATURE prefer CLASS` or `if FEATURE avoid CLASS`; that of a demonstration or a transcript is a stream, as the texts
of its tokens with blanks between them. Whoever has one wrong line has no memory: nothing of the file is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sos.context.forms import write_context
from sos.context.items import Item, lesson_item, no_actions
from sos.context.lessons import Lesson
from sos.envs.lessons import features_of
from sos.errors import UserError
from sos.files import read_json_lines
from sos.stream.codec import decode
from sos.stream.dialect.compile import Dialect
from sos.stream.dialect.vocab import BOS, EOS

SUCCESS, FAIL = "success", "fail"
FIELDS = ("task_id", "query", "status", "features", "memory_items")
PARTS = ("title", "description", "content")
SIGNS = ("avoid", "prefer")


class Record(NamedTuple):
    """What one experience left."""

    task_id: str
    query: str  # the problem in the words of the dialect
    succeeded: bool  # as the judge said
    features: np.ndarray  # int8 (F,), those of the problem
    items: tuple[Item, ...]


def record_of(
    dialect: Dialect, task_id: str, problem: np.ndarray, query: Sequence[int], succeeded: bool, items: Sequence[Item]
) -> Record:
    """Return the record of an experience with a problem, whose statement has the tokens `query`."""
    return Record(task_id, _texts(dialect, query), succeeded, features_of(dialect.env, problem), tuple(items))


def lesson_named(env: Any, text: str) -> Lesson:
    """Return the lesson of a rule. Raises UserError for another form, and for a feature or a class that the
    environment does not know, by its name."""
    words = text.split(" ")
    if len(words) != 4 or words[0] != "if" or words[2] not in SIGNS:
        raise UserError(f"{text[:80]!r} is no rule: if FEATURE prefer CLASS, or avoid")
    for what, word, known in (("feature", words[1], env.lesson_features), ("class", words[3], env.lesson_classes)):
        if word not in known:
            raise UserError(f"{text[:80]!r}: unknown {what} {word}; known are {', '.join(known)}")
    condition, of = env.lesson_features.index(words[1]), env.lesson_classes.index(words[3])
    return Lesson(condition, words[2] == "prefer", of)


def append(path: Path, dialect: Dialect, records: Sequence[Record]) -> None:
    """Write records behind those that the file has; it is made where there is none."""
    with open(path, "a", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(_plain(dialect, record)) + "\n")


def load(path: Path, dialect: Dialect) -> list[Record]:
    """Return the records of a file in their order. Raises UserError that names the file, the line and what is wrong."""
    found = []
    for line, value in read_json_lines(path):
        if isinstance(value, UserError):
            raise value
        try:
            found.append(_record(dialect, value))
        except UserError as error:
            raise UserError(f"{path}:{line}: {error}") from error
    return found


def _texts(dialect: Dialect, tokens: Sequence[int] | np.ndarray) -> str:
    return " ".join(dialect.vocab.tokens[int(token)] for token in tokens)


def _plain(dialect: Dialect, record: Record) -> dict[str, Any]:
    env = dialect.env
    names = [name for name, has in zip(env.lesson_features, record.features.tolist(), strict=True) if has]
    status = SUCCESS if record.succeeded else FAIL
    items = [_plain_item(dialect, item) for item in record.items]
    return dict(zip(FIELDS, (record.task_id, record.query, status, names, items), strict=True))


def _plain_item(dialect: Dialect, item: Item) -> dict[str, str]:
    if item.lesson is not None:
        lesson, env = item.lesson, dialect.env
        verb = SIGNS[lesson.prefer]
        title = f"{verb} {env.lesson_classes[lesson.of]}"
        described = f"At the root, {title} where {env.lesson_features[lesson.condition]}."
        return dict(zip(PARTS, (title, described, lesson.described(env)), strict=True))
    content = _texts(dialect, write_context(dialect, [item])[2:-1])
    return dict(zip(PARTS, (item.name, f"The {item.name} of a task.", content), strict=True))


def _record(dialect: Dialect, value: Any) -> Record:
    """Return the record of a line's value. Raises UserError that says what is wrong."""
    if not isinstance(value, dict):
        raise UserError(f"a record is an object, got {str(value)[:60]}")
    for name in FIELDS:
        if name not in value:
            raise UserError(f"{name} is missing")
    for name in value:
        if name not in FIELDS:
            raise UserError(f"unknown key {name}; known are {', '.join(FIELDS)}")
    for name in ("task_id", "query"):
        if not isinstance(value[name], str):
            raise UserError(f"{name} must be a text, got {value[name]!r}")
    if value["status"] not in (SUCCESS, FAIL):
        raise UserError(f"status must be {SUCCESS} or {FAIL}, got {value['status']!r}")
    names, known = value["features"], dialect.env.lesson_features
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"features must be a list of names, got {str(names)[:60]}")
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"features: unknown feature {unknown[0]}; known are {', '.join(known)}")
    if not isinstance(value["memory_items"], list):
        raise UserError(f"memory_items must be a list, got {str(value['memory_items'])[:60]}")
    items = tuple(_item(dialect, item, place) for place, item in enumerate(value["memory_items"]))
    features = np.array([name in names for name in known], np.int8)
    return Record(value["task_id"], value["query"], value["status"] == SUCCESS, features, items)


def _item(dialect: Dialect, value: Any, place: int) -> Item:
    if not isinstance(value, dict) or set(value) != set(PARTS) or not all(isinstance(v, str) for v in value.values()):
        raise UserError(f"memory_items[{place}] must have the texts {', '.join(PARTS)}, got {str(value)[:60]}")
    try:
        if value["title"] not in ("demonstration", "transcript"):
            return lesson_item(dialect.env, lesson_named(dialect.env, value["content"]))
        return _stream_item(dialect, value["title"], value["content"])
    except UserError as error:
        raise UserError(f"memory_items[{place}]: {error}") from error


def _stream_item(dialect: Dialect, name: str, content: str) -> Item:
    words = content.split(" ")
    if unknown := [word for word in words if word not in dialect.vocab.ids]:
        raise UserError(f"unknown word {unknown[0][:40]!r} of dialect {dialect.name}")
    tokens = np.array([BOS, *(dialect.vocab.ids[word] for word in words), EOS])
    found = decode(dialect, dialect.env, tokens)
    if found.position != len(tokens):
        raise UserError(f"word {found.position} of the {name} cannot be read")
    return Item(name, no_actions(dialect.env), found.trace)
