"""What docs/files.md says of files is what a sweep and a data set leave."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from places import ROOT

from sos.commands.cli import call
from sos.datasets.files import trace_line
from sos.datasets.read import read_traces
from sos.errors import UserError
from sos.files import LOCK, TEMPORARY
from sos.runs.folder import DIFF, EARLIER, RunFolder
from sos.stream.dialect.vocab import Vocabulary
from sos.stream.verify import Error

pytestmark = pytest.mark.compiled  # a run in another process, and its kernels

TEXT = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^## ", TEXT, flags=re.M)}
ROLLOUTS_SNIPPET, SHARD_SNIPPET = re.findall(r"^```python\n(.*?)^```$", TEXT, re.M | re.S)
TINY = ["experiment=smoke", "data.train_tokens=6000", "eval.num_problems=8", "eval.legacy=true"]
ROLLOUTS = "rollouts_SPLIT.npz"


def named(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def tables(section: str) -> list[list[list[str]]]:
    """The tables of a section: rows of cells, the header first."""
    found: list[list[list[str]]] = []
    lines = ["", *SECTIONS[section].splitlines()]
    for before, line in pairwise(lines):
        if line.startswith("| ") and not line.startswith("| ---"):
            if not before.startswith("| "):
                found.append([])
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def first_column(section: str, number: int = 0) -> list[str]:
    return [name for row in tables(section)[number][1:] for name in named(row[0])]


def arrays(section: str, number: int = 0) -> dict[str, tuple[str, int]]:
    """Array -> (type, axes) as a table says."""
    rows = tables(section)[number][1:]
    return {named(row[0])[0].removesuffix(".npy"): (row[1], len(re.findall(r"[^,()]+", row[2]))) for row in rows}


def same(told: Iterable[str], there: Iterable[str]) -> None:
    told, there = list(told), list(there)
    assert sorted(told) == sorted(set(told))
    assert set(told) == set(there)


def plain_name(path: Path) -> str:
    """A file's name as the page has it."""
    name = re.sub(r"^rollouts_(val|val_target)\.npz$", ROLLOUTS, path.name)
    return re.sub(r"^events\.out\.tfevents\..*", "events.out.tfevents.*", name)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny runs and their comparison."""
    folder = tmp_path_factory.mktemp("files") / "sweep"
    words = ["-m", *TINY, "stream.view=full,solution_path", "seed=1", f"hydra.sweep.dir={folder}"]
    command = [sys.executable, "train.py", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def run(sweep: Path) -> Path:
    return next(path for path in sorted(sweep.iterdir()) if path.is_dir() and "full" in path.name)


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_file_of_a_run_is_in_the_table(run: Path) -> None:
    there = {str((path.parent / plain_name(path)).relative_to(run)) for path in run.rglob("*") if path.is_file()}
    same(first_column("A run folder"), there - {DIFF})  # which is there if the checkout is changed


def test_what_lies_in_a_run_folder_at_times_is_named(run: Path, tmp_path: Path) -> None:
    told = first_column("A run folder", 1)
    home = RunFolder(tmp_path / "run")
    home.record_failure(UserError("no room"))
    assert home.failed.read_text().startswith("no room\n\n")
    assert home.failure_reason() == "no room"
    assert {home.failed.name, DIFF, LOCK, f"{EARLIER}/0/", f"{home.evaluation.name}/"} <= set(told)
    assert f"`{TEMPORARY}`" in TEXT
    assert call("evaluate", [str(run), f"out={tmp_path / 'evaluation'}", "device=cpu", "eval.num_problems=4"]) == 0
    row = next(row for row in tables("A run folder")[1] if named(row[0]) == ["evaluation/"])
    same([name for name in named(row[1]) if "." in name], {plain_name(p) for p in (tmp_path / "evaluation").iterdir()})
    again = read(tmp_path / "evaluation" / "metrics.json")
    same(again["train"], read(run / "metrics.json")["train"])


def test_every_key_of_metrics_is_in_its_table(run: Path) -> None:
    content = read(run / "metrics.json")
    keys, train, evaluation, metrics = (first_column("metrics.json", number) for number in range(4))
    same(keys, content)
    same(train, content["train"])
    same(evaluation, content["evaluation"])
    for metric in content["metrics"].values():
        same(metric, ("value", "low", "high", "num"))
    for curve in content["budget_curve"].values():
        same(curve, ("tokens", "solved"))
    assert yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")) == content["config"]
    kinds = [error.name.lower() for error in Error if error != Error.NONE]
    listed = SECTIONS["metrics.json"].partition("Kinds of errors:")[2]
    same([name for name in named(listed) if "/" not in name], kinds)
    found = {name.rpartition("/")[0] for name in content["metrics"]}
    wrong = "|".join(kinds)
    found = {re.sub(rf"^error/({wrong})$|^(legacy/)error/.*", r"\2error/KIND", name) for name in found}
    same(metrics, {re.sub(r"@\d+$", "@K", name) for name in found})


def test_every_key_of_provenance_is_in_its_table(run: Path) -> None:
    content = read(run / "provenance.json")
    same(first_column("provenance.json"), content)
    text = set(named(SECTIONS["provenance.json"]))
    assert {*content["seeds"], *content["machine"], *(content["git"] or {}), *content["data_hashes"]} <= text


def test_the_rollouts_are_the_arrays_of_the_table(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with np.load(run / "rollouts_val.npz") as found:
        assert arrays(ROLLOUTS) == {name: (found[name].dtype.name, found[name].ndim) for name in found}
        solved, start, stop = found["solved"], *found["offsets"][:2]
        answer = found["tokens"][start:stop]
    exec(compile(ROLLOUTS_SNIPPET.replace("outputs/RUN", str(run)), "files.md", "exec"), {})
    printed = capsys.readouterr().out
    assert str(answer) in printed
    assert f"{solved.mean():.1%} solved" in printed


def test_every_entry_of_a_checkpoint_is_in_its_table(run: Path) -> None:
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    same(first_column("A checkpoint"), content)
    text = set(named(SECTIONS["A checkpoint"]))
    hyper = content["hyper_parameters"]
    parts = [hyper, content["StreamDataModule"], content["callbacks"], json.loads(hyper["vocabulary"])]
    assert set().union(*parts, *content["optimizer_states"]) <= text
    vocabulary = Vocabulary.from_json(hyper["vocabulary"])
    assert vocabulary.tokens[:3] == ("<pad>", "<bos>", "<eos>")
    assert vocabulary.tokens[3 : 4 + vocabulary.whole_max] == tuple(map(str, range(vocabulary.whole_max + 1)))


def test_the_tags_of_tensorboard_are_named(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    text = SECTIONS["TensorBoard"]
    tags = EventAccumulator(str(run)).Reload().Tags()
    known = [re.escape(name).replace(r"\*", ".*").replace("EVENT", r"\w+") for name in named(text)]
    known = [name.replace("SPLIT", r"\w+") for name in known]
    metrics = set(read(run / "metrics.json")["metrics"])
    for tag in {*tags["scalars"], *tags["images"]} - metrics - {"epoch"}:
        assert any(re.fullmatch(pattern, tag) for pattern in known), tag
    assert "rollouts/0/text_summary" in tags["tensors"]


def test_a_data_set_is_what_the_page_says(made: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    kind, folder = made
    manifest, shard = read(folder / "manifest.json"), folder / "shard-00000"
    record = read(shard / "shard.json")
    same(first_column("A data set"), manifest)
    same(first_column("A data set", 1), record)
    text = set(named(SECTIONS["A data set"]))
    assert {
        *manifest["recipe"],
        *manifest["labels"],
        *manifest["counts"],
        *next(iter(record["files"].values())),
    } <= text
    assert {path.name for path in folder.iterdir()} == {"manifest.json", *(f"shard-{k:05d}" for k in range(6))}
    told = arrays("A data set", 2 if kind == "tokens" else 3)
    found = {path.stem: np.load(path) for path in shard.glob("*.npy")}
    same([f"{name}.npy" for name in found] + ["shard.json"], [path.name for path in shard.iterdir()])
    same(told, found)
    for name, (type_name, axes) in told.items():
        assert found[name].ndim == axes
        assert found[name].dtype.name in (("int8", "int16", "int32") if type_name == "narrow" else (type_name,))
    if kind == "tokens":
        exec(compile(SHARD_SNIPPET.replace("data/train", str(folder)), "files.md", "exec"), {})
        names = manifest["labels"]["vocabulary"]
        assert capsys.readouterr().out.split() == [names[k] for k in found["tokens"][: found["offsets"][1]]]


def test_a_line_of_traces_has_the_keys_of_the_table(made: tuple[str, Path]) -> None:
    kind, folder = made
    if kind == "traces":
        _, chunk = next(read_traces(folder))
        trace = next(chunk.traces())
        same(first_column("A file of traces"), json.loads(trace_line(trace, "dfs", "another")))
        same(set(first_column("A file of traces")) - {"env"}, json.loads(trace_line(trace, "dfs")))


def test_the_folder_of_a_sweep_is_what_the_page_says(sweep: Path) -> None:
    same(first_column("The folder of a sweep"), [path.name for path in sweep.iterdir() if path.is_file()])
    row = tables("The folder of a sweep")[0][1]
    assert set(read(sweep / "sweep.json")) <= set(named(row[1]))
    with open(sweep / "comparison.csv", newline="", encoding="utf-8") as file:
        header = next(csv.reader(file))
    assert header[1] == "stream.view"
    assert first_column("The folder of a sweep", 1) == [header[0], *header[2:]]
