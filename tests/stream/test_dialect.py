"""Dialects: what is refused, by name, and that what is accepted reads back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import yaml
from drivers import DIALECTS, random_problem, reads_back, run_search, tokenize
from sizes import plain

from sos.envs.countdown.rules import Countdown
from sos.envs.layered.rules import Layered
from sos.envs.sudoku.rules import Sudoku
from sos.search import Beam, BestFirst, DepthFirst
from sos.stream.codec import decode, encode
from sos.stream.dialect.compile import FORMS, compile_dialect, load_dialect
from sos.stream.dialect.source import REQUIRED, load_source
from sos.trace import RANK

ENV = Countdown(num_numbers=3)


def compact(**changes: Any) -> dict[str, Any]:
    """Return the source of the compact dialect, changed: a key of the dialect, or a form (None removes it)."""
    source = load_source("compact", Countdown())[1]
    forms = dict(source.pop("forms"))
    for key, value in changes.items():
        target = forms if key in FORMS and key != "operation" else source
        target[key] = value
        if value is None:
            del target[key]
    return {**source, "forms": forms}


def refused(match: str, whole_max: int = 9, env: Countdown = ENV, **changes: Any) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        compile_dialect(compact(**changes), env, whole_max, where="dialect test")
    assert str(caught.value).startswith("dialect test")


def test_the_shipped_dialects_compile() -> None:
    assert {"compact", "sos"} <= set(DIALECTS)
    for name in DIALECTS:
        for whole_max in (9, 99, 999):
            dialect = load_dialect(name, ENV, whole_max)
            assert dialect.name == name
            assert set(REQUIRED) <= set(dialect.templates)
            assert len(dialect.vocab) == 3 + whole_max + 1 + len(dialect.vocab.symbols)


@pytest.mark.parametrize(
    ("a", "b", "changes"),
    [
        ("dead_end", "goal", {"dead_end": "x", "goal": "x"}),
        ("dead_end", "goal", {"dead_end": "x", "goal": "x !"}),
        ("goal", "dead_end", {"dead_end": "! x", "goal": "!"}),
        ("dead_end", "generate", {"dead_end": "{value}"}),
        ("expand", "backtrack", {"backtrack": "[ {numbers} ] < {depth}"}),
        ("end_exhausted", "dead_end", {"end_exhausted": "x", "dead_end": "x"}),
        ("end_solved", "end_budget", {"end_budget": ""}),
        ("jump", "backtrack", {"jump": "< {path} [ {numbers} ]"}),
        ("end_empty", "end_exhausted", {"end_empty": "none"}),
        ("dead_end", "goal", {"dead_end": "{value} ?", "goal": "{target} ?"}),
    ],
)
def test_ambiguous_forms_are_refused_and_both_named(a: str, b: str, changes: dict[str, str]) -> None:
    templates = compact(**changes)["forms"]
    with pytest.raises(ValueError, match="is ambiguous") as caught:
        compile_dialect(compact(**changes), ENV, 9, where="dialect test")
    message = str(caught.value)
    assert f"form {a!r} {templates[a]!r}" in message or f"form {b!r} {templates[b]!r}" in message
    assert repr(a) in message
    assert repr(b) in message


def test_fields_that_run_into_each_other_are_refused() -> None:
    # The result's digits and the next operand's.
    refused(
        "is ambiguous: in form 'generate' .* field 5 can be continued by a number", generate="{a} {op} {b} = {result}"
    )
    refused("is ambiguous: in form 'root'", root="{numbers} {target} :")
    refused("is ambiguous: in form 'backtrack' .* continued by ','", backtrack="< {path} , [ {numbers} ]")
    refused("is ambiguous: in form 'expand' .* continued by ','", expand="[ {numbers} , ]")
    # One token per number parts them.
    single = ENV._replace(max_value=120)
    compile_dialect(compact(generate="{a} {op} {b} = {result}"), single, 120)
    refused("is ambiguous", 120, single, root="{numbers} {target} :")


def test_runs_of_digits_need_a_separator() -> None:
    refused("lists numbers without a separator, but numbers above 9 take several tokens", separator="")
    refused("lists numbers without a separator", 99, separator="")
    compile_dialect(compact(separator=""), ENV._replace(max_value=100), 100)
    refused(
        "form 'backtrack' .* lists numbers without a separator", backtrack="< {path} [ {numbers} ]", path_separator=""
    )


def test_auto_separates_only_where_numbers_take_several_tokens() -> None:
    small = ENV._replace(max_value=120)
    assert len(load_dialect("compact", small, 120).program.separator) == 0
    assert len(load_dialect("compact", small, 119).program.separator) == 1
    assert not load_dialect("compact", small, 120).program.runs


@pytest.mark.parametrize(
    ("match", "changes"),
    [
        ("unknown key 'colour'; known are", {"colour": "red"}),
        ("spacing must be 'free' or 'literal', got 'tight'", {"spacing": "tight"}),
        ("form 'goal' is missing", {"goal": None}),
        ("form 'root' is missing", {"root": None}),
        ("form 'goal' has the unknown field {score}; known are target, numbers, a, op", {"goal": "! {score}"}),
        ("form 'goal' cannot hold the field {path}", {"goal": "! {path}"}),
        ("form 'end_solved' cannot hold the field {value}", {"end_solved": "{value}"}),
        ("form 'root' cannot hold the field {a}", {"root": "{numbers} > {target} : {a}"}),
        ("form 'expand' cannot hold the field {depth}", {"expand": "> {depth} [ {numbers} ]"}),
        ("form 'root' needs {target}", {"root": "{numbers} :"}),
        ("form 'root' needs {numbers}", {"root": "{target} :"}),
        ("form 'backtrack' needs {path} or {depth}: '<' names its node by {numbers}, which", {"backtrack": "<"}),
        ("form 'backtrack' needs {path} or {depth}: '< [ {numbers} ]'", {"backtrack": "< [ {numbers} ]"}),
        ("form 'jump' needs {path}: '> [ {numbers} ]' names its", {"jump": "> [ {numbers} ]"}),
        ("form 'jump' cannot hold the field {depth}", {"jump": "> {depth} {path} [ {numbers} ]"}),
        ("form 'label' needs {path}", {"label": "# {numbers} #"}),
        ("form 'generate' needs {op}", {"generate": "{a} {b} = {result} ,"}),
        ("uses {operations} but the key 'operation' is missing", {"expand": "[ {numbers} ( {operations} ) ]"}),
    ],
)
def test_mistakes_are_named(match: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^dialect test") as caught:
        compile_dialect(compact(**changes), ENV, 9, where="dialect test")
    assert match in str(caught.value)


@pytest.mark.parametrize("missing", ["a", "b", "result"])
def test_an_action_is_written_whole(missing: str) -> None:
    template = "{a} {op} {b} = {result} ,".replace(f"{{{missing}}}", "")
    refused("form 'generate' needs", generate=template)


def test_unknown_forms_are_named() -> None:
    source = compact()
    source["forms"]["leap"] = "j"
    with pytest.raises(ValueError, match="unknown form 'leap'; known are root, expand"):
        compile_dialect(source, ENV, 9)


def test_a_form_that_is_no_text_is_named() -> None:
    """`end_solved:` with nothing behind it is None in YAML, not an empty text."""
    with pytest.raises(ValueError, match="form 'end_solved' must be a text, got None"):
        compile_dialect(compact() | {"forms": compact()["forms"] | {"end_solved": None}}, ENV, 9)


def test_numbers_in_templates_are_written_with_the_vocabulary() -> None:
    """A literal number is a number's token, and must not become one that does not exist."""
    with pytest.raises(ValueError, match="'100' is a number without a token of its own"):
        compile_dialect(compact(goal="! 100 !"), ENV, 9)
    compile_dialect(compact(goal="! 7 !"), ENV, 9)
    compile_dialect(compact(goal="! 100 !"), ENV, 100)


@pytest.mark.parametrize("text", ["<eos>", "! <pad>", "007"])
def test_literals_that_clash_with_the_vocabulary_are_refused(text: str) -> None:
    refused("'(<eos>|<pad>|007)' is a", goal=text)


def test_ranks_above_the_largest_number_read_back() -> None:
    env = Countdown(num_numbers=4, max_number=9, max_target=10, max_value=12)
    dialect = load_dialect("sos", env, 12)
    trace = run_search(DepthFirst(0, False), env, [11, 4, 1, 1, 1, 2])
    assert trace.nodes[:, RANK].max() > 12
    assert decode(dialect, env, encode(dialect, trace)[0]).trace.equals(trace)


def test_files(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    with pytest.raises(
        ValueError,
        match=r"no dialect '.*mine.yaml'; those of Countdown are checked, checked_dense, compact, dense, sos",
    ):
        load_dialect(str(path), ENV, 9)
    with pytest.raises(ValueError, match="no dialect 'compat'"):
        load_dialect("compat", ENV, 9)
    path.write_text("forms: [unclosed")
    with pytest.raises(ValueError, match=r"dialect file .*mine.yaml: not YAML"):
        load_dialect(str(path), ENV, 9)
    path.write_text("- a list")
    with pytest.raises(ValueError, match=r"dialect file .*mine.yaml: needs a mapping with the key 'forms'"):
        load_dialect(str(path), ENV, 9)
    path.write_text(yaml.safe_dump({**compact(dead_end="dead"), "name": "mine"}))
    assert load_dialect(str(path), ENV, 9).name == "mine"


def test_whole_max_is_checked() -> None:
    for whole_max in (8, 30_001):
        with pytest.raises(ValueError, match=f"stream.whole_max .* got {whole_max}"):
            load_dialect("compact", ENV, whole_max)


CUSTOM = {
    "paths": {"expand": "v {path} [ {numbers} ]", "backtrack": "< {path} [ {numbers} ]"},
    "no states": {"expand": "v", "backtrack": "< {depth} ;"},
    "one visit": {"expand": "v {path} ;", "backtrack": "v {path} ;", "path_separator": "."},
    "labels": {"label": "# {path} : {numbers} ;", "path_separator": "-"},
    "values": {"dead_end": "x {value} {separator} {target} ;", "goal": "! {value} ;"},
    "long separators": {"separator": "and also", "path_separator": "then"},
    "history": {
        "operation": "{a} {op} {b} = {result}",
        "operation_separator": ";",
        "expand": "[ {numbers} ( {operations} ) ]",
    },
    "one end": {"end_exhausted": ""},
    "words": {"dead_end": "no", "goal": "yes", "backtrack": "back to {depth} : {numbers} ."},
    "literal": {
        "spacing": "literal",
        "root": "{numbers}>{target}:",
        "generate": "{a}{op}{b}={result};",
        "backtrack": "<{depth}[{numbers}]",
        "expand": "[{numbers}]\n",
    },
}


@pytest.mark.parametrize("changes", CUSTOM.values(), ids=list(CUSTOM))
@pytest.mark.parametrize("whole_max", [9, 99])
def test_a_users_dialect_reads_back(changes: dict[str, str], whole_max: int) -> None:
    dialect = compile_dialect(compact(**changes), ENV, whole_max)
    tokenizer = dialect.vocab.tokenizer()
    rng = np.random.default_rng(1)
    strategies = (
        DepthFirst(),
        DepthFirst(2, False, announce_leaves=False),
        DepthFirst(max_nodes=3),
        Beam(2),
        BestFirst(),
    )
    for strategy in strategies:
        for _ in range(plain(5, 1)):
            trace = run_search(strategy, ENV, random_problem(rng, ENV))
            tokens, align, _ = encode(dialect, trace)
            back = decode(dialect, ENV, tokens)
            assert reads_back(dialect, back.trace, trace)
            assert np.array_equal(back.align, align)
            assert tokenize(tokenizer, dialect.text(tokens)).tolist() == tokens.tolist()


@pytest.mark.parametrize(
    ("env", "why"), [(Layered(), "path_cost of Layered"), (Sudoku(4, 4, 6), "status_by of Sudoku")]
)
def test_labels_do_not_go_with_verdicts_that_the_rules_do_not_foretell(env: Any, why: str) -> None:
    source = load_source("compact", env).source | {}
    forms = source["forms"] | {"label": "# {path} ;"}
    with pytest.raises(ValueError, match=f"dialect test: form 'label' does not go with the {why}"):
        compile_dialect(source | {"forms": forms}, env, 99, where="dialect test")
