"""Dialects: one YAML of templates per kind of event, compiled to a program for the encoder and the decoder.

A template is literal text with fields in braces. Fields: those of the environment (its `fields`; in `root` a field is
the problem's, elsewhere the action's where the form says one, or the state's), and `path` (child indices from the root,
`0,2,1`), `depth` (of an ancestor), `level` (see below), `value` (the number of a dead end or goal), `operations` (the
actions from the root), `separator` (the separator's own text).

The numbers of a list stand apart by `separator`, and the records of a list of records by `record_separator`. A number
of a record may have a text of its own, too. In `dead_end` and `forced`, a list of the problem whose items proofs number
stands for the item that is the proof, word for word, and for nothing where the proof is none of them.

`expand` is the visit of the node generated last, unless it names its node by a path. Where it is left out, a node that
may have children counts as visited as soon as it is generated; `backtrack` returns to an
ancestor by its `depth`, or to any node by its `path`. The optional `jump` visits any other node, by its `path`. A
`backtrack` or `jump` with neither names its node by the state there, which it says whole: the node generated last of
those in this state. That is not for environments whose state is a list of any length. Without a jump, and without the
optional `end_empty`, a dialect cannot write the traces that need them. Where `expand` and `backtrack` have one wording
that names its node by a path or by the state, that is how any node is visited, as a best-first search does it.

The optional `plan` is one action of the answer behind the search, where streams are to have one; it says the whole
action, as `generate` does.

`begin_search` and `begin_plan` are optional, too. The one is what a search begins with, right behind the problem: it
may say the root's state, where that is numbers. The other stands in front of the first action of a plan, and may quote
the problem. A plan may leave out what an environment calls `facts` of an action, which follow from the rest. Where
actions cost something, `goal` may be left out: a goal is one as soon as it is visited.

The optional `forced` is a generation that the rules of deduction leave no choice about, in an environment that has
such moves; without it, forced moves are written as `generate`, and read back as any other. Where there is one, `level`
counts the choices: a node's level is the number of nodes on the way to it that were not forced, the root and itself
among them. `backtrack` may name the last ancestor of a level, and `generate` and `forced` may say the level of the
parent.

`begin_sketch`, `bare` and `begin_bare` are for searches without their visits (`sos.stream.sketch`): what such a search
begins with in place of `begin_search`, and, where the `facts` of its actions are left out as well, a generation without
them and what a search of those begins with.

The optional `label` names a generated inner node. Where it does, and every path comes with the `operations`, leaves
go without a name: the last index of a leaf's path is written as 0, and the last operation says which of its siblings
it is (the published wording).

A dialect in which two streams could share one text is refused with the templates that clash
(`sos.stream.dialect.ambiguity`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sos.envs.protocol import Field, has
from sos.errors import UserError
from sos.stream.dialect.ambiguity import check
from sos.stream.dialect.program import (
    ACTION_NUMBER,
    DEPTH,
    FORMS,
    HISTORY,
    LEAST_PATH,
    LEVEL,
    LITERAL,
    MAX_TOKENS_PER_NUMBER,
    PATH,
    PROBLEM_LIST,
    PROBLEM_NUMBER,
    STATE_LIST,
    STATE_NUMBER,
    STATE_RECORDS,
    STATE_SYMBOL,
    SYMBOL,
    VALUE_NUMBER,
    VALUE_RECORD,
    Program,
)
from sos.stream.dialect.sketches import check_forms
from sos.stream.dialect.source import checked_templates, load_source
from sos.stream.dialect.tables import all_fields, list_rows, lists, symbol_rows, told_symbols
from sos.stream.dialect.vocab import BOS, EOS, FIRST_NUMBER, SPECIALS, Vocabulary
from sos.stream.markers import Markers
from sos.stream.slot import Slot

FIELD_NAMES = {"path": PATH, "depth": DEPTH, "value": VALUE_NUMBER, "operations": HISTORY, "level": LEVEL}
_PIECES = re.compile(r"\{([a-z_]*)\}")
_LITERAL_TOKENS = re.compile(r" ?[A-Za-z]+|[0-9]|\n|.")


@dataclass(frozen=True)
class Dialect:
    """A compiled dialect: its program, its vocabulary and its templates."""

    name: str
    program: Program
    vocab: Vocabulary
    templates: dict[str, str]
    forms: dict[str, tuple[str, ...]]  # each template as the texts of its tokens, and its fields in braces
    env: Any  # that it was compiled for
    slot: Slot | None = None  # its tokens, where streams may begin with a context
    markers: Markers | None = None  # theirs, where streams say what is seen of the search's state

    def text(self, tokens: Any) -> str:
        """Return the text of token ids, special tokens left out. Its tokenizer gives the same ids back."""
        words: list[str] = []
        joined = self.program.runs or not self.vocab.spaced
        previous_number = False
        for token in (int(t) for t in tokens):
            if token < FIRST_NUMBER:
                continue
            number = self.vocab.is_number(token)
            if self.vocab.spaced and words and not (joined and number and previous_number):
                words.append(" ")
            words.append(self.vocab.tokens[token])
            previous_number = number
        return "".join(words)


def load_dialect(name_or_path: str, env: Any, whole_max: int, plan: bool = False) -> Dialect:
    """Load and compile a dialect for `env`, with numbers up to `whole_max` as one token each, and with a `plan` or
    without.

    Raises ValueError that names the dialect and the template for an unknown key or field, a missing template or an
    ambiguity.
    """
    found = load_source(name_or_path, env)
    return compile_dialect(found.source, env, whole_max, plan, where=found.where)


def compile_dialect(
    source: Mapping[str, Any], env: Any, whole_max: int, plan: bool = False, *, where: str = "dialect"
) -> Dialect:
    """Compile the fields of a dialect's YAML; see `load_dialect`."""
    templates = checked_templates(source, plan, where)
    if "forced" in templates and not has("forced", type(env)):
        raise UserError(f"{where}: form 'forced' is for moves that are forced, and {type(env).__name__} has none")
    if "goal" not in templates and ("expand" not in templates or not has("path_cost", type(env))):
        raise UserError(f"{where}: form 'goal' is missing")  # nothing else says that a goal is one
    late = [name for name in ("path_cost", "status_by") if has(name, type(env))]
    if "label" in templates and late:
        # A label stands where no verdict follows, and what follows is not known from the rules alone.
        raise UserError(f"{where}: form 'label' does not go with the {late[0]} of {type(env).__name__}")
    check_forms(templates, env, where)
    spacing = source.get("spacing", "literal")
    if spacing not in ("free", "literal"):
        raise UserError(f"{where}: spacing must be 'free' or 'literal', got {spacing!r}")
    separator = str(source.get("separator", "auto"))
    # Ranks of children are numbers, too.
    single = max(env.largest_number, env.max_children) <= whole_max
    if separator == "auto":
        separator = "" if single else ","
    compiler = _Compiler(where, env, spacing == "free", separator, whole_max)
    compiler.forced = "forced" in templates
    pieces = {name: compiler.pieces(name, template) for name, template in templates.items()}
    separators = [
        compiler.literal(text)
        for text in (separator, str(source.get("path_separator", ",")), str(source.get("operation_separator", ",")))
    ]
    for field in all_fields(env):
        for symbol in (*field.symbols, *(text for texts in field.item_symbols for text in texts)):
            compiler.symbol(symbol)
    has_records = any(field.width > 1 for field in all_fields(env))
    separators.append(compiler.literal(str(source.get("record_separator", separator))) if has_records else [])
    vocab = Vocabulary(tuple(compiler.symbols), whole_max, compiler.free)
    program = _assemble(pieces, separators, env, vocab, not single)
    try:
        check(where, templates, program, vocab, single)
    except UserError as error:
        if single:
            raise
        largest = max(env.largest_number, env.max_children)
        why = f"numbers go up to {largest}, and those above stream.whole_max={whole_max} take several tokens"
        raise UserError(f"{error} ({why})") from error
    return Dialect(str(source.get("name", "dialect")), program, vocab, templates, compiler.forms, env)


def piece_of(env: Any, field: Field) -> tuple[int, int]:
    """Return the (kind, argument) that a field of `env` is compiled to."""
    if field.size:
        kind = STATE_RECORDS if field.row == "state" and field.width > 1 else _LIST_KINDS[field.row]
        return kind, lists(env).index(field)
    if field.symbols and field.row == "state":
        return STATE_SYMBOL, env.action_width + told_symbols(env).index(field)
    return SYMBOL if field.symbols else _NUMBER_KINDS[field.row], field.column


class _Compiler:
    """Splits templates into pieces; a literal piece is the text of one token."""

    def __init__(self, where: str, env: Any, free: bool, separator: str, whole_max: int) -> None:
        self.where, self.env, self.free, self.separator, self.whole_max = where, env, free, separator, whole_max
        self.forced = False  # there is a form for forced moves
        self.symbols: list[str] = []
        self.forms: dict[str, tuple[str, ...]] = {}

    def symbol(self, text: str) -> None:
        if text in SPECIALS:
            raise UserError(f"{self.where}: {text!r} is a special token and cannot be part of a text")
        if text.isascii() and text.isdigit():
            if text != str(int(text)) or int(text) > self.whole_max:
                raise UserError(
                    f"{self.where}: {text!r} is a number without a token of its own; spell it or raise stream.whole_max"
                )
        elif text not in self.symbols:
            self.symbols.append(text)

    def literal(self, text: str) -> list[str]:
        words = text.split() if self.free else _LITERAL_TOKENS.findall(text)
        for word in words:
            self.symbol(word)
        return words

    def pieces(self, form: str, template: str) -> list[tuple[int, Any]]:
        """Return (kind, argument) of each piece of a template, checked for its form."""
        result: list[tuple[int, Any]] = []
        said: list[str] = []
        for k, part in enumerate(_PIECES.split(template)):
            if k % 2 == 0 or part == "separator":
                words = self.literal(self.separator if k % 2 else part)
                result += [(LITERAL, word) for word in words]
                said += words
                continue
            kind, argument = self._field(form, part, template)
            if kind not in _ALLOWED.get(form, _ALLOWED_ELSEWHERE):
                raise UserError(f"{self.where}: form {form!r} cannot hold the field {{{part}}}: {template!r}")
            result.append((kind, argument))
            said.append(f"{{{part}}}")
        self.forms[form] = tuple(said)
        self._check_needs(form, template, result)
        return result

    def _field(self, form: str, name: str, template: str) -> tuple[int, int]:
        """Return (kind, argument) of a field."""
        if name in FIELD_NAMES:
            return FIELD_NAMES[name], 0
        if name not in self.env.fields:
            known = ", ".join([*self.env.fields, *FIELD_NAMES, "separator"])
            raise UserError(f"{self.where}: form {form!r} has the unknown field {{{name}}}; known are {known}")
        fields = self.env.fields[name]
        wanted = [field for field in fields if (field.row == "problem") == (form == "root")]
        if form in _OF_ACTIONS:  # such as a cost, of a path that an action claims and that a state has
            wanted.sort(key=lambda field: field.row != "action")
        field = (wanted or fields)[0]
        kind, argument = piece_of(self.env, field)
        return (VALUE_RECORD, argument) if form != "root" and field.numbered else (kind, argument)

    def _check_needs(self, form: str, template: str, pieces: list[tuple[int, Any]]) -> None:
        """Raise UserError where a form leaves out what a reader needs."""
        row = "action" if form in _OF_ACTIONS else "problem" if form == "root" else ""
        if row != "problem" and form != "begin_bare" and any(kind in _STATE_KINDS for kind, _ in pieces):
            self._check_row(form, template, pieces, "state")  # a state is told whole
        self._check_row(form, template, pieces, row)
        kinds = {kind for kind, _ in pieces}
        if form in ("backtrack", "jump") and _names_by_state(pieces):
            self._check_order(form, template)
        if LEVEL in kinds and not self.forced:
            raise UserError(f"{self.where}: form {form!r} has {{level}}, which needs the form 'forced': {template!r}")
        for need, text in _NEEDED.get(form, ()):
            if not kinds & need:
                raise UserError(f"{self.where}: form {form!r} needs {text}: {template!r}")

    def _check_order(self, form: str, template: str) -> None:
        """Raise UserError where a form names its node by a state whose parts may be said in another order."""
        for name, fields in self.env.fields.items():
            if any(field.row == "state" and field.counted >= 0 for field in fields):
                raise UserError(
                    f"{self.where}: form {form!r} needs {{path}}{' or {depth}' if form == 'backtrack' else ''}: "
                    f"{template!r} names its node by {{{name}}}, which may be said in several orders"
                )

    def _check_row(self, form: str, template: str, pieces: list[tuple[int, Any]], row: str) -> None:
        facts = self.env.facts if form in ("plan", "bare") and has("complete", type(self.env)) else ()
        for name, fields in self.env.fields.items():
            if name in facts:
                continue
            if any(field.row == row and piece_of(self.env, field) not in pieces for field in fields):
                raise UserError(f"{self.where}: form {form!r} needs {{{name}}}: {template!r}")


_OF_ACTIONS = ("generate", "forced", "plan", "operation", "bare")  # the forms that say an action
_LIST_KINDS = {"problem": PROBLEM_LIST, "state": STATE_LIST}
_NUMBER_KINDS = {"problem": PROBLEM_NUMBER, "state": STATE_NUMBER, "action": ACTION_NUMBER}
_STATE_KINDS = {STATE_NUMBER, STATE_LIST, STATE_RECORDS, STATE_SYMBOL}
_ACTION_KINDS = {ACTION_NUMBER, SYMBOL}
_VISIT = {LITERAL, PROBLEM_NUMBER, PATH, DEPTH, HISTORY} | _STATE_KINDS
_BEGIN = {LITERAL, PROBLEM_NUMBER, STATE_NUMBER, STATE_SYMBOL}
_ALLOWED_ELSEWHERE: set[int] = {LITERAL}
_ALLOWED = {
    "root": {LITERAL, PROBLEM_NUMBER, PROBLEM_LIST, HISTORY},
    "expand": _VISIT - {DEPTH},
    "jump": _VISIT - {DEPTH},
    "backtrack": _VISIT | {LEVEL},
    "generate": {LITERAL, PROBLEM_NUMBER, LEVEL} | _STATE_KINDS | _ACTION_KINDS,
    "forced": {LITERAL, PROBLEM_NUMBER, LEVEL, VALUE_NUMBER, VALUE_RECORD} | _STATE_KINDS | _ACTION_KINDS,
    "plan": {LITERAL, PROBLEM_NUMBER} | _STATE_KINDS | _ACTION_KINDS,
    "bare": {LITERAL, PROBLEM_NUMBER} | _ACTION_KINDS,
    "label": {LITERAL, PROBLEM_NUMBER, PATH} | _STATE_KINDS | _ACTION_KINDS,
    "dead_end": {LITERAL, VALUE_NUMBER, VALUE_RECORD, PROBLEM_NUMBER},
    "goal": {LITERAL, VALUE_NUMBER, PROBLEM_NUMBER},
    "operation": {LITERAL} | _ACTION_KINDS,
    "begin_search": _BEGIN,
    "begin_sketch": _BEGIN,
    "begin_bare": _BEGIN,
    "begin_plan": {LITERAL, PROBLEM_NUMBER},
}
_NEEDED = {
    "backtrack": (({PATH, DEPTH, LEVEL} | _STATE_KINDS, "{path}, {depth}, {level} or the state"),),
    "label": (({PATH}, "{path}"),),
    "jump": (({PATH} | _STATE_KINDS, "{path} or the state"),),
}


def _assemble(
    pieces: dict[str, list[tuple[int, Any]]], separators: list[list[str]], env: Any, vocab: Vocabulary, runs: bool
) -> Program:
    def token(word: str) -> int:
        return vocab.ids[word]

    code: list[tuple[int, int]] = []
    start = [0]
    longest = 0
    list_size = MAX_TOKENS_PER_NUMBER + max(len(s) for s in separators)
    operation_size = MAX_TOKENS_PER_NUMBER * (len(pieces.get("operation", [])) + 1)
    longest_list = max((field.size * field.width for field in lists(env)), default=0) * list_size
    sizes = {
        **dict.fromkeys((STATE_LIST, STATE_RECORDS, PROBLEM_LIST, VALUE_RECORD), longest_list),
        PATH: (env.max_depth + 2) * list_size,
        HISTORY: env.max_depth * (operation_size + list_size),
    }
    for form in FORMS:
        body = [(kind, token(arg) if kind == LITERAL else int(arg)) for kind, arg in pieces.get(form, [])]
        if form == "root":
            body = [(LITERAL, BOS), *body]
        elif form.startswith("end_"):
            body = [*body, (LITERAL, EOS)]
        code += body
        start.append(len(code))
        tokens = (1 if kind == LITERAL else sizes.get(kind, MAX_TOKENS_PER_NUMBER) for kind, _ in body)
        longest = max(longest, sum(tokens))
    visits = [pieces[form] for form in ("expand", "backtrack", "jump") if form in pieces]
    with_path = [form for form in visits if any(kind == PATH for kind, _ in form)]
    written = [np.array([token(w) for w in s], np.int32) for s in separators]
    separator, path_separator, operation_separator, record_separator = written
    texts, columns = symbol_rows(env, vocab)
    return Program(
        np.array(code, np.int32).reshape(-1, 2),
        np.array(start, np.int32),
        np.array([f in pieces for f in FORMS]),
        texts,
        columns,
        list_rows(env),
        separator,
        record_separator,
        path_separator,
        operation_separator,
        vocab.whole_max,
        runs,
        pieces.get("expand") == pieces["backtrack"],
        pieces["end_solved"] == pieces["end_exhausted"],
        "expand" not in pieces,
        "goal" not in pieces,
        "begin_search" in pieces or "begin_plan" in pieces,
        "begin_sketch" in pieces,
        "label" in pieces and all(any(kind == HISTORY for kind, _ in form) for form in with_path),
        _names_itself(pieces),
        any(kind == DEPTH for kind, _ in pieces["backtrack"]),
        not {PATH, DEPTH} & {kind for kind, _ in pieces["backtrack"]} and (LEVEL, 0) in pieces["backtrack"],
        _names_by_state(pieces["backtrack"]),
        "jump" in pieces and _names_by_state(pieces["jump"]),
        max(LEAST_PATH, env.max_depth + 2),
        2 * longest,  # a generated node's two forms
    )


def _names_by_state(pieces: list[tuple[int, Any]]) -> bool:
    """Say whether a form names its node by nothing but the state there."""
    return not {PATH, DEPTH, LEVEL} & {kind for kind, _ in pieces}


def _names_itself(pieces: dict[str, list[tuple[int, Any]]]) -> bool:
    """Say whether a visit names its node, so that it need not be the one that was generated last."""
    form = pieces.get("expand", [])
    return any(kind == PATH for kind, _ in form) or (form == pieces["backtrack"] and _names_by_state(form))
