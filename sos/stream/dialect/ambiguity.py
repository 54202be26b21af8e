"""Refuses ambiguous dialects: no form may be a prefix of another, and every field must end where its successor begins.

Each form is a small nondeterministic automaton over token ids, with `NUMBER` standing for any number token. Forms
that start alike are compared by walking both automata together.
"""

from __future__ import annotations

from collections.abc import Iterable

from sos.errors import UserError
from sos.stream.dialect.program import (
    BACKTRACK,
    BEGIN_PLAN,
    EXPAND,
    FORMS,
    HISTORY,
    LIST_SYMBOLS,
    LIST_WIDTH,
    LITERAL,
    OPERATION,
    PATH,
    PLAN,
    PROBLEM_LIST,
    ROOT,
    STATE_LIST,
    STATE_RECORDS,
    STATE_SYMBOL,
    SYMBOL,
    VALUE_RECORD,
    Program,
)
from sos.stream.dialect.sketches import HEADINGS, to_compare, told_apart
from sos.stream.dialect.vocab import Vocabulary

NUMBER = -1
_OF_ROWS = (STATE_LIST, STATE_RECORDS, PROBLEM_LIST)
_LISTS = (*_OF_ROWS, PATH, HISTORY)


class _Automaton:
    """States 0..size-1, start 0; `edges[state]` holds (symbol, next), symbol None for a free move."""

    def __init__(self) -> None:
        self.edges: list[list[tuple[int | None, int]]] = [[]]
        self.end = 0

    def new(self) -> int:
        self.edges.append([])
        return len(self.edges) - 1

    def step(self, symbols: Iterable[int | None]) -> None:
        after = self.new()
        for symbol in symbols:
            self.edges[self.end].append((symbol, after))
        self.end = after

    def closure(self, states: Iterable[int]) -> frozenset[int]:
        seen, stack = set(states), list(states)
        while stack:
            for symbol, after in self.edges[stack.pop()]:
                if symbol is None and after not in seen:
                    seen.add(after)
                    stack.append(after)
        return frozenset(seen)

    def moves(self, states: frozenset[int]) -> list[tuple[int, int]]:
        return [(symbol, after) for state in states for symbol, after in self.edges[state] if symbol is not None]


def _number(machine: _Automaton, single: bool) -> None:
    machine.step([NUMBER])
    if not single:
        machine.edges[machine.end].append((NUMBER, machine.end))


def _code(program: Program, form: int) -> list[list[int]]:
    return program.code[program.start[form] : program.start[form + 1]].tolist()


def _build(program: Program, code: list[list[int]], single: bool) -> _Automaton:
    machine = _Automaton()
    _append(machine, program, code, single)
    return machine


def _append(machine: _Automaton, program: Program, code: list[list[int]], single: bool) -> None:
    for kind, argument in code:
        if kind == LITERAL:
            machine.step([argument])
        elif kind == SYMBOL or kind == STATE_SYMBOL:
            machine.step(token for token in program.symbols[argument].tolist() if token >= 0)
        elif kind == VALUE_RECORD:  # or nothing
            first = machine.end
            _item(machine, program, PROBLEM_LIST, argument, single)
            machine.step([None])
            machine.edges[first].append((None, machine.end))
        elif kind in _LISTS:
            first = machine.end
            if kind == HISTORY:
                _append(machine, program, _code(program, OPERATION), single)
            else:
                _item(machine, program, kind, argument, single)
            last = machine.end
            for token in _separator(program, kind, argument):
                machine.step([token])
            machine.edges[machine.end].append((None, first))
            machine.end = last
            machine.step([None])
            if kind == HISTORY:  # may be empty
                machine.edges[first].append((None, machine.end))
        else:
            _number(machine, single)


def _width(program: Program, kind: int, argument: int) -> int:
    """Return how many numbers an item of a list has."""
    return int(program.lists[argument, LIST_WIDTH]) if kind in _OF_ROWS else 1


def _item(machine: _Automaton, program: Program, kind: int, argument: int, single: bool) -> None:
    symbols = int(program.lists[argument, LIST_SYMBOLS]) if kind in _OF_ROWS else -1
    for k in range(_width(program, kind, argument)):
        for token in program.separator.tolist() if k else []:
            machine.step([token])
        texts = [token for token in program.symbols[symbols + k].tolist() if token >= 0] if symbols >= 0 else []
        if texts:
            machine.step(texts)
        else:
            _number(machine, single)


def _separator(program: Program, kind: int, argument: int) -> list[int]:
    """Return what stands between the items of a list."""
    if kind in _OF_ROWS:
        records = _width(program, kind, argument) > 1
        return list((program.record_separator if records else program.separator).tolist())
    return list((program.path_separator if kind == PATH else program.operation_separator).tolist())


def _overlap(a: int, b: int, vocab: Vocabulary) -> bool:
    return a == b or (a == NUMBER and vocab.is_number(b)) or (b == NUMBER and vocab.is_number(a))


def _is_prefix(a: _Automaton, b: _Automaton, vocab: Vocabulary) -> bool:
    """Say whether some text of `a` is a text of `b` or the beginning of one."""
    start = (a.closure([0]), b.closure([0]))
    seen, stack = {start}, [start]
    while stack:
        states_a, states_b = stack.pop()
        if a.end in states_a:
            return True
        for symbol_a, after_a in a.moves(states_a):
            for symbol_b, after_b in b.moves(states_b):
                if _overlap(symbol_a, symbol_b, vocab):
                    pair = (a.closure([after_a]), b.closure([after_b]))
                    if pair not in seen:
                        seen.add(pair)
                        stack.append(pair)
    return False


def _apart(program: Program, a: int, b: int) -> bool:
    """Say whether no place of a stream can have either of two forms: a search begins once, right behind the problem,
    and a plan where none went before."""
    if a in HEADINGS or b in HEADINGS:
        others = {BEGIN_PLAN} if program.present[BEGIN_PLAN] else {PLAN}
        return not others & {a, b}
    return {a, b} == {BEGIN_PLAN, PLAN}


def _first(machine: _Automaton) -> set[int]:
    return {symbol for symbol, _ in machine.moves(machine.closure([0]))}


def _first_of_item(program: Program, kind: int, argument: int, single: bool) -> set[int]:
    """Return what an item of a list can begin with."""
    machine = _Automaton()
    if kind == HISTORY:
        _append(machine, program, _code(program, OPERATION), single)
    else:
        _item(machine, program, kind, argument, single)
    return _first(machine)


def check(where: str, templates: dict[str, str], program: Program, vocab: Vocabulary, single: bool) -> None:
    """Raise ValueError, naming the clashing templates, unless every stream has exactly one reading.

    `single` says that every number of a true trace is one token. The decoder is greedy and deterministic: it suffices
    that no form is a prefix of another and that no field can go on where its successor could begin.
    """
    present = [f for f in range(len(FORMS)) if program.present[f] and f not in (ROOT, OPERATION)]
    machines = {f: _build(program, _code(program, f), single) for f in present}
    for a in present:
        for b in present:
            if a == b or _apart(program, a, b) or ({a, b} == {EXPAND, BACKTRACK} and program.shared_visit):
                continue
            if told_apart(a, b):
                continue
            if {FORMS[a], FORMS[b]} == {"end_solved", "end_exhausted"} and program.shared_end:
                continue  # one wording: an end right after the goal or the plan is the solved one
            if _is_prefix(machines[a], machines[b], vocab):
                raise UserError(
                    f"{where} is ambiguous: form {FORMS[a]!r} {templates[FORMS[a]]!r} can be the beginning of "
                    f"form {FORMS[b]!r} {templates[FORMS[b]]!r}"
                )
    _check_sketches(where, program, vocab, single)
    after_form = set().union(*(_first(machines[f]) for f in present))
    for f in [*present, ROOT, *([OPERATION] if program.present[OPERATION] else [])]:
        _check_fields(where, f, templates[FORMS[f]], program, vocab, single, after_form)


def _check_sketches(where: str, program: Program, vocab: Vocabulary, single: bool) -> None:
    for pair in to_compare(program):
        a, b = (_build(program, [piece for form in forms for piece in _code(program, form)], single) for forms in pair)
        if _is_prefix(a, b, vocab) or _is_prefix(b, a, vocab):
            names = (" and ".join(repr(FORMS[form]) for form in forms) for forms in pair)
            raise UserError(f"{where} is ambiguous: form {' can begin as '.join(names)} behind each other do")


def _check_fields(
    where: str, form: int, template: str, program: Program, vocab: Vocabulary, single: bool, after_form: set[int]
) -> None:
    code = _code(program, form)
    for k, (kind, argument) in enumerate(code):
        if kind in (LITERAL, SYMBOL, STATE_SYMBOL):
            continue
        goes_on: set[int] = set() if single else {NUMBER}
        if kind == VALUE_RECORD:
            goes_on |= _first_of_item(program, PROBLEM_LIST, argument, single)
        if kind == HISTORY and not program.present[OPERATION]:
            raise UserError(f"{where}: form {FORMS[form]!r} uses {{operations}} but the key 'operation' is missing")
        if kind in _LISTS:
            separator = _separator(program, kind, argument)
            if kind != HISTORY and not separator and not single:
                raise UserError(
                    f"{where} is ambiguous: form {FORMS[form]!r} {template!r} lists numbers without a separator, but "
                    f"numbers above {vocab.whole_max} take several tokens; set a separator or raise stream.whole_max"
                )
            if kind != HISTORY and separator and vocab.is_number(separator[0]) and not single:
                raise UserError(
                    f"{where} is ambiguous: form {FORMS[form]!r} {template!r} lists numbers of several tokens, and the "
                    f"separator starts with the number {vocab.tokens[separator[0]]}"
                )
            item = _first_of_item(program, kind, argument, single)
            goes_on |= {separator[0]} if separator else item
            if kind == HISTORY:
                goes_on |= item
        rest = code[k + 1 :]
        if rest:
            follows = _first(_build(program, rest, single))
        elif form == OPERATION:  # what follows the last one is checked where the history stands
            separator = _separator(program, HISTORY, 0)
            follows = {separator[0]} if separator else _first(_build(program, code, single))
        else:
            follows = after_form
        for a in goes_on:
            for b in follows:
                if _overlap(a, b, vocab):
                    text = "a number" if a == NUMBER else repr(vocab.tokens[a])
                    raise UserError(
                        f"{where} is ambiguous: in form {FORMS[form]!r} {template!r} field {k + 1} can be continued by "
                        f"{text}, and so can what follows it"
                    )
