"""Contexts as tokens: written in the words of a dialect, and read back from any integers.

An action is written as the dialect's form `generate` says it, from the first to the last of its numbers that are said,
with the words between them; `<then>` stands between two actions. A whole stream is written without its `<bos>` and
`<eos>`. A lesson is three tokens that stand for nothing else: its condition, `<prefer>` or `<avoid>`, and a class.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sos.context.items import NAMES, UNSAID, WHOLE_STREAMS, Item, lesson_item, no_actions, said_columns
from sos.context.lessons import Lesson
from sos.context.vocab import AVOID, PREFER, class_words, condition_words
from sos.errors import UserError
from sos.schema.slot import LESSON, OUTCOME
from sos.stream.codec import DecodeStatus, decode, encode
from sos.stream.dialect.compile import Dialect
from sos.stream.dialect.program import ACTION_NUMBER, GENERATE, LITERAL, SYMBOL
from sos.stream.dialect.vocab import BOS, EOS, FIRST_NUMBER
from sos.stream.slot import Slot

Piece = tuple[int, int]  # LITERAL and a token, or ACTION_NUMBER or SYMBOL and a column
MOST_DIGITS = 10


class ReadContext(NamedTuple):
    """What `read_context` found."""

    items: list[Item]  # those that could be read
    position: int  # the first token that was not understood, or the one behind `</context>`
    sound: bool  # the context was read to its end, and is as it would be written


def slot_of(dialect: Dialect) -> Slot:
    """Return the dialect's slot. Raises UserError where it has none."""
    if dialect.slot is None:
        raise UserError(f"dialect {dialect.name} has no context slot: slot=hint gives it one")
    return dialect.slot


def action_form(dialect: Dialect, columns: Sequence[int]) -> list[Piece]:
    """Return the pieces by which an action is told of which some columns are said, no column twice."""
    program = dialect.program
    start, stop = program.start[GENERATE : GENERATE + 2]
    told: list[Piece] = []
    between: list[Piece] = []
    missing = set(columns)
    for kind, argument in program.code[start:stop].tolist():
        if kind == LITERAL and told:
            between.append((kind, argument))
        elif kind in (ACTION_NUMBER, SYMBOL) and argument in missing:
            runs_on = bool(told) and not between and kind == told[-1][0] == ACTION_NUMBER
            told += [(LITERAL, slot_of(dialect).then)] if runs_on else between
            told.append((kind, argument))
            missing.remove(argument)
            between = []
    return told


def write_context(dialect: Dialect, items: Sequence[Item]) -> np.ndarray:
    """Return the tokens of a context, int64 (T,), without `<bos>`; none where there are no items.

    Raises UserError for an item that says nothing, and where the dialect has no words for it.
    """
    slot = slot_of(dialect)
    if not items:
        return np.zeros(0, np.int64)
    tokens = [slot.begin]
    for item in items:
        tokens += _written(dialect, slot, item)
    return np.array([*tokens, slot.end], np.int64)


def _written(dialect: Dialect, slot: Slot, item: Item) -> list[int]:
    if item.name not in slot.items:
        raise UserError(f"the context slot has no item {item.name}; known are {', '.join(slot.items)}")
    head = [slot.items[item.name]]
    if item.name in NAMES[OUTCOME]:
        return head
    if item.filler:
        return head + [slot.filler] * item.filler
    if item.trace is not None:
        return head + encode(dialect, item.trace)[0][1:-1].tolist()
    if item.lesson is not None:
        return head + _written_lesson(dialect, item.lesson)
    if not len(item.actions):
        raise UserError(f"an item {item.name} of a context says nothing")
    form = action_form(dialect, said_columns(dialect.env, item.name))
    for k, action in enumerate(item.actions.tolist()):
        head += [slot.then] if k else []
        for kind, argument in form:
            if kind == LITERAL:
                head.append(argument)
            elif kind == SYMBOL:
                head.append(int(dialect.program.symbols[argument, action[argument]]))
            else:
                head += dialect.vocab.number_ids(action[argument])
    return head


def _written_lesson(dialect: Dialect, lesson: Lesson) -> list[int]:
    env = dialect.env
    words = (condition_words(env)[lesson.condition], PREFER if lesson.prefer else AVOID, class_words(env)[lesson.of])
    return [dialect.vocab.ids[word] for word in words]


def _read_lesson(dialect: Dialect, body: np.ndarray) -> tuple[Item | None, int]:
    """Return the lesson whose three tokens these are, or None, and the position of the one that was not understood."""
    choices = (condition_words(dialect.env), (AVOID, PREFER), class_words(dialect.env))
    numbers = []
    for position, words in enumerate(choices):
        known = [dialect.vocab.ids[word] for word in words]
        if position >= len(body) or body[position] not in known:
            return None, position
        numbers.append(known.index(int(body[position])))
    if len(body) > len(choices):
        return None, len(choices)
    return lesson_item(dialect.env, Lesson(numbers[0], bool(numbers[1]), numbers[2])), 0


def read_context(dialect: Dialect, tokens: np.ndarray) -> ReadContext:
    """Read the context at the front of a stream, any integers (T,); never raises for its contents. A stream without one
    has no items, and is sound. O(T)."""
    slot = slot_of(dialect)
    tokens = np.ascontiguousarray(tokens, np.int64).reshape(-1)
    if len(tokens) < 2 or tokens[0] != BOS or tokens[1] != slot.begin:
        return ReadContext([], min(1, len(tokens)), True)
    ends = np.flatnonzero(tokens == slot.end)
    stop = int(ends[0]) if len(ends) else len(tokens)
    named = {token: name for name, token in slot.items.items()}
    starts = [*(2 + np.flatnonzero(np.isin(tokens[2:stop], list(named)))).tolist(), stop]
    if starts[0] != 2 or stop == len(tokens):
        return ReadContext([], 2 if starts[0] != 2 else stop, False)
    items: list[Item] = []
    for start, behind in itertools.pairwise(starts):
        item, position = _read_item(dialect, slot, named[int(tokens[start])], tokens[start + 1 : behind])
        if item is None:
            return ReadContext(items, start + 1 + position, False)
        items.append(item)
    return ReadContext(items, stop + 1, True)


def _read_item(dialect: Dialect, slot: Slot, name: str, body: np.ndarray) -> tuple[Item | None, int]:
    """Return the item whose body this is, or None, and the position of the token that was not understood."""
    nothing = no_actions(dialect.env)
    if name in NAMES[OUTCOME]:
        return (None, 0) if len(body) else (Item(name, nothing), 0)
    if len(body) and (body == slot.filler).all():
        return Item(name, nothing, filler=len(body)), 0
    if name == LESSON:
        return _read_lesson(dialect, body)
    if name in WHOLE_STREAMS:
        found = decode(dialect, dialect.env, np.concatenate([[BOS], body, [EOS]]))
        whole = found.status == DecodeStatus.OK and found.position == len(body) + 2
        return (Item(name, nothing, found.trace), 0) if whole else (None, min(max(0, found.position - 1), len(body)))
    form = action_form(dialect, said_columns(dialect.env, name))
    ids = body.tolist()
    actions, at = [], 0
    while True:
        action = np.full(dialect.env.action_width, UNSAID, np.int32)
        behind = _read_action(dialect, form, ids, at, action)
        if behind < 0:
            return None, at
        actions.append(action)
        at = behind
        if at == len(ids):
            break
        if ids[at] != slot.then:
            return None, at
        at += 1
    item = Item(name, np.array(actions, np.int32))
    # A number is written in one way, and no action twice where there is no order.
    written = _written(dialect, slot, item)[1:]
    return (item, 0) if written == ids else (None, _first_difference(written, ids))


def _first_difference(written: list[int], ids: list[int]) -> int:
    return next((k for k, (a, b) in enumerate(zip(written, ids, strict=False)) if a != b), min(len(written), len(ids)))


def _read_action(dialect: Dialect, form: list[Piece], ids: list[int], at: int, action: np.ndarray) -> int:
    """Read an action from position `at` into `action`; return the position behind it, -1 where it cannot be read."""
    for kind, argument in form:
        if at >= len(ids):
            return -1
        if kind == LITERAL:
            if ids[at] != argument:
                return -1
            at += 1
        elif kind == SYMBOL:
            known = np.flatnonzero(dialect.program.symbols[argument] == ids[at])
            if ids[at] < 0 or not len(known):  # -1 stands behind the last symbol
                return -1
            action[argument] = known[0]
            at += 1
        else:
            value, at = _read_number(dialect, ids, at)
            if value < 0:
                return -1
            action[argument] = value
    return at


def _read_number(dialect: Dialect, ids: list[int], at: int) -> tuple[int, int]:
    """Return a number of int32 and the position behind it, -1 where there is none."""
    vocab, start, value = dialect.vocab, at, 0
    if not vocab.is_number(ids[at]):
        return -1, at
    if ids[at] - FIRST_NUMBER > 9 or not dialect.program.runs:
        return ids[at] - FIRST_NUMBER, at + 1
    while at < len(ids) and at - start <= MOST_DIGITS and vocab.is_number(ids[at]) and ids[at] - FIRST_NUMBER <= 9:
        value = 10 * value + ids[at] - FIRST_NUMBER
        at += 1
    return (value, at) if value < 2**31 else (-1, at)
