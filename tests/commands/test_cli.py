"""The command line: help without heavy imports, one grammar, completion, and unknown words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import pytest
from places import CONF, ROOT

from sos.commands.cli import call, main
from sos.commands.losses import BY, SPLITS
from sos.commands.presets import keys_of, presets
from sos.commands.verbs import GROUPS, VERBS
from sos.commands.words import Known, read
from sos.errors import UserError

HEAVY = {"torch", "numba", "lightning", "scipy", "matplotlib"}
SHOW_HELP = """
import contextlib, io, json, sys
from sos.commands.cli import main
out = {}
for words in json.loads(sys.argv[1]):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        assert main(words) == 0
    out[" ".join(words)] = text.getvalue()
print(json.dumps([out, sorted(sys.modules)]))
"""


@pytest.fixture(scope="module")
def helps() -> tuple[dict[str, str], set[str]]:
    """What every help prints, and the modules that one process has imported for all of them."""
    words = [["--help"], *([verb.name, "--help"] for verb in VERBS)]
    command = [sys.executable, "-c", SHOW_HELP, json.dumps(words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    texts, modules = json.loads(done.stdout)
    return texts, set(modules)


def test_no_help_loads_torch_or_numba(helps: tuple[dict[str, str], set[str]]) -> None:
    texts, modules = helps
    assert len(texts) == len(VERBS) + 1 == 24
    assert not modules & HEAVY


def test_the_overview_has_a_line_for_each_verb_in_its_group(helps: tuple[dict[str, str], set[str]]) -> None:
    lines = helps[0]["--help"].splitlines()
    assert all(f"  {verb.name}" in "\n".join(lines) and verb.summary in "\n".join(lines) for verb in VERBS)
    assert {verb.group for verb in VERBS} == set(GROUPS)
    assert sum(line.startswith("  ") for line in lines) == len(VERBS)


def test_every_key_has_a_sentence_and_stands_in_its_help(helps: tuple[dict[str, str], set[str]]) -> None:
    seen = 0
    for verb in VERBS:
        if verb.hydra:
            continue
        for name, field in Known.of(verb.module().Options).keys.items():
            assert field.metadata["sentence"]
            assert f"\n  {name}=" in helps[0][f"{verb.name} --help"]
            seen += 1
    assert seen > 40


def test_the_help_of_train_names_all_keys_and_presets(helps: tuple[dict[str, str], set[str]]) -> None:
    from sos.config import Config

    text = helps[0]["train --help"]
    names = [key for key, _, _ in keys_of(Config)]
    assert len(names) > 60
    assert all(f"\n  {name}=" in text for name in names)
    found = [name for group in ("experiment", "control", "sweep") for name, _ in presets(CONF, group)]
    assert len(found) > 15
    assert all(name in text for name in found)


def test_choices_that_are_spelled_out_are_those_of_the_rooms_below() -> None:
    from sos.data.splits import SPLITS as BELOW
    from sos.judge.losses import KEYS

    assert SPLITS == BELOW
    assert KEYS == BY


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["vew"], "no verb 'vew'; did you mean view?"),
        (["view", "outt=x"], "unknown key 'outt'; did you mean out?"),
        (["view", "split=val", "out=a", "out=b"], "out is given twice"),
        (["compare"], "RUNS is missing"),
        (["compare", "--out", "x"], "unknown word '--out'"),
        (["compare", "x", "bas=full"], "unknown key 'bas'; did you mean baseline?"),
        (["losses", "a", "b"], "one RUN at a time"),
        (["losses", "a", "split=test"], "split must be one of train, val, val_target, got test"),
        (["losses", "a", "problems=0"], "problems must be at least 1, got 0"),
        (["losses", "a", "problems=many"], "problems must be a whole number, got 'many'"),
        (["losses", "a", "problems=1,2"], "problems=1,2: one value"),
        (["parts", "modules=short"], "modules must be a list of texts, such as [short], got 'short'"),
        (["parts", "modules={a:1}"], "modules must be a list of texts, got {'a': 1}"),
        (["parts", "modules=[[a]]"], "modules must be a list of texts, got [[a]]"),
        (["train", "experiment=null"], "experiment=null: a group of the config takes a name, not null"),
        (["train", "-m", "stream=dose,3"], "stream=dose,3: a group of the config takes a name, not 3"),
        (["train", "stream=[null]"], "stream=[null]: a group of the config takes a name, not null"),
        (["scaling", "a", "parameters=inf"], "parameters must be a finite number"),
        (["convert", "a", "to=json"], "to must be one of sos, published, got json"),
        (["export", "a"], "out=... is missing"),
        (["score"], "FILES is missing"),
        (
            ["score", "a.jsonl", "rules=tinyzero"],
            "rules must be one of sos, negatives, rationals, subset, got tinyzero",
        ),
        (["generate"], "out=FOLDER is missing"),
        (["completion", "csh"], "no completion for 'csh'"),
        (["teachers", "x"], "arguments are key=value, got 'x'"),
    ],
)
def test_a_word_that_does_not_fit_is_one_line(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["sos", *words])
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert complaint in error


def test_a_value_of_another_type_is_one_line_for_every_option() -> None:
    """A single word for a list, and null for whatever is no text."""
    seen = {"list": 0, "null": 0}
    for verb in VERBS:
        if verb.hydra:
            continue
        schema = verb.module().Options
        for name in Known.of(schema).keys:
            hint = get_type_hints(schema)[name]
            words = ["word", "3", "null", "{a:1}"] if get_origin(hint) is list else ["null"]
            for value in words if hint not in (str, str | None) and type(None) not in get_args(hint) else ():
                with pytest.raises(UserError, match=rf"^{name} must be [^;]*, got [^;]*$"):
                    read(schema, [f"{name}={value}"])
                seen["null" if value == "null" else "list"] += 1
    assert min(seen.values()) > 3


def test_paths_need_no_quotes(tmp_path: Path) -> None:
    """A folder named after overrides, as runs are, is a run and a value, in quotes or not."""
    from sos.commands.compare import Options

    folder = tmp_path / "2026-11-28_seed=1,stream.view=full"
    folder.mkdir()
    for word in (f"out={folder}", f"out='{folder}'"):
        options = read(Options, [str(folder), word, f"full={folder}"])
        assert options.runs == [str(folder), f"full={folder}"]
        assert options.out == str(folder)


def test_lists_are_read_as_hydra_reads_them() -> None:
    from sos.commands.compare import Options

    assert read(Options, ["a", "metric=[solve/val,nodes/val]", "different_problems=true"]).metric == [
        "solve/val",
        "nodes/val",
    ]
    with pytest.raises(UserError, match="different_problems must be true or false, got 'maybe'"):
        read(Options, ["a", "different_problems=maybe"])


def test_the_completion_knows_verbs_keys_and_presets(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert call("completion", [shell]) == 0
        text = capsys.readouterr().out
        assert all(verb.name in text for verb in VERBS)
        for word in (
            "experiment=speedrun_cpu",
            "+sweep=view",
            "stream.view=",
            "baseline=",
            "eval.num_problems=",
            "visits=",
        ):
            assert word in text, (shell, word)


def test_bash_takes_the_completion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("completion", ["bash"]) == 0
    (tmp_path / "sos").write_text(capsys.readouterr().out)
    script = f"source {tmp_path / 'sos'}; COMP_WORDS=(sos train exp); COMP_CWORD=2; _sos sos exp train; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert "experiment=smoke" in done.stdout.split()
