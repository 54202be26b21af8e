"""A model of transformers becomes a run: bit by bit what it was, or refused in one line before anything is written."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import TASK, train, untrained

from sos.commands.cli import call
from sos.compose import compose
from sos.config import config_from_dict
from sos.runs.checkpoint import LoadedCheckpoint, load_checkpoint, load_model
from sos.runs.folder import RunFolder
from sos.runs.provenance import Origin
from sos.system import build_system
from sos.train.pretrain import pretrain

safetensors = pytest.importorskip("safetensors.torch")
main = partial(call, "import")
EMBEDDING = "model.embed_tokens.weight"


def exported(folder: Path, *overrides: str) -> tuple[RunFolder, Path]:
    """An untrained run, and the folder of its export."""
    run = untrained(folder / "run", *overrides)
    assert call("export", [str(run.path), f"out={folder}/hf"]) == 0
    return run, folder / "hf"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Path]:
    return exported(tmp_path_factory.mktemp("made"), "model.tie_embeddings=true")


@pytest.fixture
def copied(made: tuple[RunFolder, Path], tmp_path: Path) -> Path:
    """A copy of the export, to be changed."""
    return Path(shutil.copytree(made[1], tmp_path / "copy"))


def imported(folder: Path, out: Path, *words: str) -> LoadedCheckpoint:
    """Import and read; the checkpoint must load as a model."""
    assert main([str(folder), f"out={out}", *words]) == 0
    loaded = load_checkpoint(RunFolder(out).checkpoint)
    load_model(loaded, build_system(config_from_dict(loaded.config)))
    return loaded


def same_weights(a: LoadedCheckpoint, b: LoadedCheckpoint) -> bool:
    assert a.state_dict.keys() == b.state_dict.keys()
    assert len(a.state_dict) > 10
    return all(
        torch.equal(weight, b.state_dict[name]) and weight.dtype == b.state_dict[name].dtype
        for name, weight in a.state_dict.items()
    )


SHAPES = (
    [],
    ["model.qk_norm=false", "model.tie_embeddings=true"],
    ["model.tie_embeddings=false", "model.num_heads=4", "model.num_kv_heads=2"],
    ["model.mlp_ratio=3", "model.rope_theta=5000"],
    ["trainer.precision=bf16-true"],
    ["trainer.precision=64-true"],
    ["trainer.precision=bf16-mixed"],
)


@pytest.mark.parametrize("overrides", SHAPES, ids=" ".join)
def test_a_round_trip_gives_every_bit_and_the_config_back(overrides: list[str], tmp_path: Path) -> None:
    run, folder = exported(tmp_path, *overrides)
    before, after = load_checkpoint(run.checkpoint), imported(folder, tmp_path / "back")
    assert same_weights(before, after)
    assert after.config == before.config
    assert (after.vocabulary, after.dialect_hash, after.train) == (before.vocabulary, before.dialect_hash, before.train)
    assert call("export", [f"{tmp_path}/back", f"out={tmp_path}/again"]) == 0
    for name in ("model.safetensors", "config.json", "tokenizer.json", "generation_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("overrides", [[], ["model.qk_norm=false", "model.num_heads=4", "model.num_kv_heads=2"]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_transformers_saved_comes_back(overrides: list[str], dtype: torch.dtype, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    run, folder = exported(tmp_path, *overrides)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    with torch.no_grad():
        model.model.norm.weight[3] = 0.625
    model.save_pretrained(tmp_path / "saved")
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    before, after = load_checkpoint(run.checkpoint), imported(tmp_path / "saved", tmp_path / "back")
    assert float(after.state_dict["norm.weight"][3]) == 0.625
    before.state_dict["norm.weight"][3] = 0.625
    rounded = {name: weight.to(dtype).float() for name, weight in before.state_dict.items()}
    assert same_weights(after, LoadedCheckpoint({}, "", None, rounded, {}, Path()))
    assert after.config == before.config


def test_without_its_record_a_model_needs_a_run_like_it(
    made: tuple[RunFolder, Path], copied: Path, tmp_path: Path
) -> None:
    edit(copied / "config.json", lambda content: content.pop("sos"))
    assert main([str(copied), f"out={tmp_path}/back"]) == 2
    assert same_weights(
        load_checkpoint(made[0].checkpoint), imported(copied, tmp_path / "back", f"like={made[0].path}")
    )
    larger, folder = exported(
        tmp_path, "model.num_layers=3", "model.width=48", "model.num_heads=3", "model.mlp_ratio=3"
    )
    edit(folder / "config.json", lambda content: content.pop("sos"))
    after = imported(folder, tmp_path / "larger", f"like={made[0].path}")
    assert same_weights(load_checkpoint(larger.checkpoint), after)
    assert after.config["model"]["num_layers"] == 3


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change the content of a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Change the weights."""
    weights = safetensors.load_file(folder / "model.safetensors")
    change(weights)
    safetensors.save_file(weights, folder / "model.safetensors")


def header(folder: Path, change: Callable[[Any], Any]) -> None:
    """Change what the file of weights says of itself."""
    content = (folder / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    described = json.loads(content[8 : 8 + size])
    change(described)
    text = json.dumps(described).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])


def cut(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-9])


def config(key: str, value: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "config.json", lambda content: content.update({key: value}))


def token(folder: Path) -> None:
    def swap(content: Any) -> None:
        vocab = content["model"]["vocab"]
        vocab["1"], vocab["2"] = vocab["2"], vocab["1"]

    edit(folder / "tokenizer.json", swap)


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "no config.json there"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors there"),
    "an adapter": (lambda folder: (folder / "adapter_config.json").touch(), "holds an adapter"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("{"), "damaged"),
    "a list": (lambda folder: (folder / "config.json").write_text("[]"), "damaged"),
    "another architecture": (config("model_type", "gpt2"), "model_type is 'gpt2'"),
    "no architecture": (lambda f: edit(f / "config.json", lambda c: c.pop("model_type")), "model_type is 'missing'"),
    "other activation": (config("hidden_act", "gelu"), "hidden_act is 'gelu'"),
    "scaled positions": (config("rope_parameters", {"rope_type": "yarn", "factor": 2.0}), "rope_scaling is"),
    "a window": (config("use_sliding_window", True), "use_sliding_window is True"),
    "short": (config("max_position_embeddings", 8), "max_position_embeddings is 8, data.context 64"),
    "other eps": (config("rms_norm_eps", 1e-5), "rms_norm_eps is 1e-05"),
    "more layers than weights": (config("num_hidden_layers", 1024), "weights for 1024 layers"),
    "a layer more": (config("num_hidden_layers", 3), "weight model.layers.2.input_layernorm.weight is none"),
    "a million layers": (config("num_hidden_layers", 10**6), "model.num_layers must be at most 1024, got 1000000"),
    "layers that are none": (config("num_hidden_layers", "2"), "model.num_layers must be a whole number, got '2'"),
    "another vocabulary": (token, "is another vocabulary: token '1' is 5, in the run 4"),
    "a token more": (
        lambda f: edit(f / "tokenizer.json", lambda c: c["added_tokens"].append({"id": 99, "content": "<pad2>"})),
        "token '<pad2>' is 99, in the run missing",
    ),
    "no vocabulary": (lambda f: (f / "tokenizer.json").write_text("{}"), "it holds no vocabulary"),
    "no config of a run": (config("sos", {"vocabulary": "", "train": {}}), "sos/config is missing"),
    "a record that is none": (config("sos", 3), "sos/config is missing"),
    "odd counts": (
        lambda f: edit(f / "config.json", lambda c: c["sos"]["train"].update(steps=-1)),
        "sos/train is",
    ),
    "an unknown key": (
        lambda f: edit(f / "config.json", lambda c: c["sos"]["config"]["data"].update(lnegth=1)),
        "data.lnegth is no key",
    ),
    "a huge context": (
        lambda f: edit(f / "config.json", lambda c: c["sos"]["config"]["data"].update(context=2**40)),
        "data.context",
    ),
    "other symbols": (
        lambda f: edit(
            f / "config.json", lambda c: c["sos"].update(vocabulary=c["sos"]["vocabulary"].replace('"/"', '"%"'))
        ),
        "another vocabulary",
    ),
    "another dialect": (
        lambda f: edit(f / "config.json", lambda c: c["sos"].update(dialect_hash="0" * 16)),
        "another version of the dialect",
    ),
    "a cut file": (cut, "damaged"),
    "an empty file": (lambda f: (f / "model.safetensors").write_bytes(b""), "damaged"),
    "a header of 2**60 bytes": (lambda f: (f / "model.safetensors").write_bytes(struct.pack("<Q", 2**60)), "damaged"),
    "a tensor of 2**50 numbers": (
        lambda f: header(f, lambda h: h[EMBEDDING].update(shape=[2**40, 2**10])),
        "damaged",
    ),
    "offsets behind the end": (
        lambda f: header(f, lambda h: h[EMBEDDING].update(data_offsets=[0, 2**50])),
        "damaged",
    ),
    "a weight less": (lambda f: rewrite(f, lambda w: w.pop(EMBEDDING)), f"weight {EMBEDDING} is none"),
    "a weight more": (lambda f: rewrite(f, lambda w: w.update(x=torch.zeros(1))), "weight x is (1,)"),
    "another shape": (
        lambda f: rewrite(f, lambda w: w.update({EMBEDDING: torch.zeros(99, 32)})),
        f"weight {EMBEDDING} is (99, 32)",
    ),
    "whole numbers": (
        lambda f: rewrite(f, lambda w: w.update({EMBEDDING: w[EMBEDDING].to(torch.int32)})),
        "weights of type I32",
    ),
    "not finite": (lambda f: rewrite(f, lambda w: w[EMBEDDING][0].fill_(float("nan"))), "is not finite"),
    "an untied head": (
        lambda f: rewrite(f, lambda w: w.update({"lm_head.weight": w[EMBEDDING] + 1})),
        "lm_head.weight is not the embedding",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=list(DAMAGE))
def test_what_is_no_model_of_ours_is_refused_in_one_line(
    damage: Callable[[Path], Any], message: str, copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    damage(copied)
    capsys.readouterr()
    assert main([str(copied), f"out={tmp_path}/back"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert str(copied) in error or "model." in error
    assert error.count("\n") == 1
    assert not (tmp_path / "back").exists()


def test_a_tied_head_that_is_written_out_is_fine(copied: Path, tmp_path: Path, made: tuple[RunFolder, Path]) -> None:
    rewrite(copied, lambda w: w.update({"lm_head.weight": w[EMBEDDING].clone()}))
    assert same_weights(load_checkpoint(made[0].checkpoint), imported(copied, tmp_path / "back"))


def test_a_folder_that_is_in_use_is_left_alone(made: tuple[RunFolder, Path], tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    assert main([str(made[1]), f"out={tmp_path}"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.slow
def test_an_imported_run_is_evaluated_viewed_and_practised_from(tmp_path: Path) -> None:
    run = train(tmp_path / "run")
    assert call("export", [str(run.path), f"out={tmp_path}/hf"]) == 0
    assert main([f"{tmp_path}/hf", f"out={tmp_path}/back"]) == 0
    assert call("evaluate", [f"{tmp_path}/back", f"out={tmp_path}/evaluation"]) == 0
    before, after = (json.loads((place / "metrics.json").read_text()) for place in (run.path, tmp_path / "evaluation"))
    assert after["metrics"] == before["metrics"]
    assert call("view", [f"checkpoint={tmp_path}/back", f"out={tmp_path}/view.html", "split=val", "index=0"]) == 0
    assert "<html" in (tmp_path / "view.html").read_text()
    practice = [f"start={tmp_path}/back", "improve=grpo", "improve.problems=16", "improve.rounds=2"]
    assert pretrain(compose([*TASK, *practice]), tmp_path / "stage", Origin("stage")) is not None
    assert json.loads((tmp_path / "stage" / "metrics.json").read_text())["train"]["rounds"] == 2
