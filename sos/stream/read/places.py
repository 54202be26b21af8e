"""Which field of which form each token of a stream is: the result of an operation, the depth of a return, a number of
a state."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np

from sos.errors import UserError
from sos.stream.codec import decode
from sos.stream.dialect import program as p
from sos.stream.dialect.compile import FIELD_NAMES, Dialect, piece_of
from sos.stream.dialect.vocab import FIRST_NUMBER
from sos.stream.slot import behind_context
from sos.trace import KIND, NODE, PARENT, Event, Trace

TEXT = "text"  # a literal
CONTEXT = "context"  # what stands before the problem
MARKER = "marker"  # says what is seen of the search's state
BEGIN = "begin"  # a literal that an event begins with: which event it is to be is decided there
_NAMES = {code: name for name, code in FIELD_NAMES.items()}
FORMS_OF = {
    Event.EXPAND: (p.ROOT, p.EXPAND, p.BACKTRACK, p.JUMP),
    Event.GENERATE: (p.GENERATE, p.FORCED, p.BARE),
    Event.DEAD_END: (p.DEAD_END,),
    Event.GOAL: (p.GOAL,),
    Event.BACKTRACK: (p.BACKTRACK, p.JUMP),
    Event.PLAN: (p.PLAN,),
    Event.END: (p.END_SOLVED, p.END_EXHAUSTED, p.END_BUDGET, p.END_EMPTY),
}


class Place(NamedTuple):
    """Where a token stands."""

    event: str  # the kind of the event that it tells, lower case
    field: str  # one of the dialect's fields, `text`, `begin`, `context` or `marker`
    depth: int  # of the node that the event acts on: for a generation the parent
    after: str  # the kind of the event before


def places(dialect: Dialect, env: Any, tokens: np.ndarray) -> list[Place]:
    """Return the place of each token of a whole stream, int (T,), its prompt and its end token included. O(T).

    Raises ValueError where the dialect cannot read the stream to its end.
    """
    if dialect.markers is not None and dialect.markers.are(tokens).any():
        kept = ~dialect.markers.are(tokens)
        read, behind = places(dialect, env, tokens[kept]), np.cumsum(kept) - kept
        at = np.minimum(behind, len(read) - 1).tolist()
        return [read[k] if is_kept else read[k]._replace(field=MARKER) for is_kept, k in zip(kept, at, strict=True)]
    start = behind_context(dialect.slot, tokens)
    if start > 1:
        first, *rest = places(dialect, env, np.concatenate([tokens[:1], tokens[start:]]))
        return [first, *[first._replace(field=CONTEXT)] * (start - 1), *rest]
    found = decode(dialect, env, tokens)
    if found.position < len(tokens):
        raise UserError(f"token {found.position} of {len(tokens)} cannot be read ({found.status.name.lower()})")
    names = {piece_of(env, field): name for name, fields in env.fields.items() for field in fields}
    depths, result = _depths(found.trace), []
    stops = np.append(np.flatnonzero(np.diff(found.align)) + 1, len(tokens))
    begin, after = 0, ""
    for stop in stops.tolist():
        kind, node = (int(x) for x in found.trace.events[found.align[begin], [KIND, NODE]])
        event = Event(kind)
        depth = depths[found.trace.nodes[node, PARENT]] if event == Event.GENERATE else depths[max(node, 0)]
        for field in _fields(dialect, names, event, tokens[begin:stop].tolist()):
            result.append(Place(event.name.lower(), field, depth, after))
        begin, after = stop, event.name.lower()
    return result


def _depths(trace: Trace) -> list[int]:
    depths: list[int] = []
    for parent in trace.nodes[:, PARENT].tolist():
        depths.append(0 if parent < 0 else depths[parent] + 1)
    return depths


def _fields(dialect: Dialect, names: dict[tuple[int, int], str], event: Event, tokens: list[int]) -> list[str]:
    """Return the field of each token of one event: of the first form that reads all of them."""
    heads = ((), (p.BEGIN_SEARCH,), (p.BEGIN_PLAN,), (p.BEGIN_SKETCH,), (p.BEGIN_BARE,))
    for form, head in product(FORMS_OF[event], heads):
        reader = _Reader(dialect, names, tokens)
        # A generated inner node has a second form where the dialect labels nodes.
        for part in (*head, form, p.LABEL) if event == Event.GENERATE else (*head, form):
            if not reader.read(part):
                break
            if len(reader.fields) == len(tokens):
                return [BEGIN if reader.fields[0] == TEXT else reader.fields[0], *reader.fields[1:]]
    raise AssertionError(f"what was decoded as {event.name.lower()} fits none of its forms")


class _Reader:
    """Reads forms from the front of `tokens`; `fields` are the fields of what is read, one for each token."""

    def __init__(self, dialect: Dialect, names: dict[tuple[int, int], str], tokens: list[int]) -> None:
        self.dialect, self.program, self.names, self.tokens = dialect, dialect.program, names, tokens
        self.fields: list[str] = []

    def read(self, form: int) -> bool:
        """Read one form, if it is there."""
        start, stop = self.program.start[form : form + 2]
        return bool(self.program.present[form]) and all(
            self._piece(int(kind), int(argument)) for kind, argument in self.program.code[start:stop]
        )

    def _piece(self, kind: int, argument: int) -> bool:
        if kind == p.LITERAL:
            return self._words([argument], TEXT)
        if kind in (p.SYMBOL, p.STATE_SYMBOL):
            rest = self.tokens[len(self.fields) : len(self.fields) + 1]
            found = bool(rest) and rest[0] in self.program.symbols[argument]
            return found and self._take(1, self.names[kind, argument])
        if kind == p.PATH:
            return self._list(self.program.path_separator, lambda: self._number(_NAMES[kind]), _NAMES[kind])
        if kind in (p.STATE_LIST, p.STATE_RECORDS, p.PROBLEM_LIST):
            return self._items(argument, self.names[kind, argument])
        if kind == p.VALUE_RECORD:  # or nothing
            before = len(self.fields)
            if not self._item(argument, self.names[p.PROBLEM_LIST, argument]):
                del self.fields[before:]
            return True
        if kind == p.HISTORY:
            operation = self.program.code[self.program.start[p.OPERATION] : self.program.start[p.OPERATION + 1]]

            def one() -> bool:
                return all(self._piece(int(k), int(a)) for k, a in operation)

            first = len(self.fields)
            self._list(self.program.operation_separator, one, _NAMES[kind])  # it may be empty
            self.fields[first:] = [_NAMES[kind]] * (len(self.fields) - first)
            return True
        return self._number(self.names.get((kind, argument)) or _NAMES[kind])

    def _take(self, num: int, field: str) -> bool:
        self.fields += [field] * num
        return True

    def _words(self, words: list[int], field: str) -> bool:
        at = len(self.fields)
        return self.tokens[at : at + len(words)] == words and self._take(len(words), field)

    def _number(self, field: str) -> bool:
        """Read a number: one token, or as many digits as stand there."""
        at = len(self.fields)
        values = [token - FIRST_NUMBER for token in self.tokens[at:]]
        if not values or not 0 <= values[0] <= self.program.whole_max:
            return False
        size = 1
        if self.program.runs and 1 <= values[0] <= 9:
            while size < len(values) and 0 <= values[size] <= 9:
                size += 1
        return self._take(size, field)

    def _items(self, which: int, field: str) -> bool:
        """Read a list of numbers or of records."""
        records = self.program.lists[which, p.LIST_WIDTH] > 1
        separator = self.program.record_separator if records else self.program.separator
        return self._list(separator, lambda: self._item(which, field), field)

    def _item(self, which: int, field: str) -> bool:
        """Read an item of a list."""
        width, symbols = (int(self.program.lists[which, column]) for column in (p.LIST_WIDTH, p.LIST_SYMBOLS))
        separator = self.program.separator.tolist()

        def part(k: int) -> bool:
            texts = self.program.symbols[symbols + k] if symbols >= 0 else self.program.symbols[:0]
            if not (texts >= 0).any():
                return self._number(field)
            rest = self.tokens[len(self.fields) : len(self.fields) + 1]
            return bool(rest) and rest[0] in texts and self._take(1, field)

        return all((not k or self._words(separator, field)) and part(k) for k in range(width))

    def _list(self, separator: np.ndarray, one: Any, field: str) -> bool:
        """Read items with separators between them, at least one; what an item began and did not end is given back."""
        count = 0
        while True:
            before = len(self.fields)
            if (count and not self._words(separator.tolist(), field)) or not one():
                del self.fields[before:]
                return count > 0
            count += 1
