"""Tests of reading checkpoints and of `sos evaluate`: what works, and one clear line for what does not."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sos.commands.cli import call
from sos.config import Config, DataConfig, ModelConfig, SearchConfig, StreamConfig, to_dict
from sos.datasets.source import dialect_hash
from sos.envs.countdown.config import CountdownConfig
from sos.errors import UserError
from sos.model.gpt import GPT
from sos.runs.checkpoint import config_of, load_checkpoint, load_model
from sos.runs.finished import load_runs
from sos.system import System, build_system, gpt_config

main = partial(call, "evaluate")

CONFIG = Config(
    env=CountdownConfig(max_target=50, max_value=100),
    search=SearchConfig(),
    stream=StreamConfig(dialect="compact", numbers="whole"),
    data=DataConfig(context=64),
    model=ModelConfig(num_layers=3, num_heads=3, width=96),
)
CONFIG.model.width, CONFIG.model.num_heads, CONFIG.model.num_layers = 16, 1, 1


@pytest.fixture(scope="module")
def system() -> System:
    return build_system(CONFIG)


@pytest.fixture(scope="module")
def model(system: System) -> GPT:
    torch.manual_seed(0)
    return GPT(gpt_config(CONFIG, len(system.dialect.vocab)))


@pytest.fixture
def content(system: System, model: GPT) -> dict[str, Any]:
    """Return what a training run stores."""
    return {
        "global_step": 70,
        "hyper_parameters": {"config": to_dict(CONFIG), "vocabulary": system.dialect.vocab.to_json()},
        "state_dict": {f"model.{name}": weight for name, weight in model.state_dict().items()},
        "StreamDataModule": {"tokens": 9000, "streams": 120},
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    return folder / "last.ckpt"


def test_a_checkpoint_gives_back_its_model(system: System, model: GPT, content: dict[str, Any], path: Path) -> None:
    torch.save(content, path)
    loaded = load_checkpoint(path)
    assert loaded.config == to_dict(CONFIG)
    assert loaded.train == {"steps": 70, "tokens": 9000, "problems": 120}
    tokens = torch.arange(20)[None]
    with torch.inference_mode():
        assert torch.equal(load_model(loaded, system)(tokens), model(tokens))


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no such checkpoint: .*nothing\.ckpt$"):
        load_checkpoint(tmp_path / "nothing.ckpt")
    with pytest.raises(ValueError, match=r"no such checkpoint: .* \(a folder; name the file in it\)"):
        load_checkpoint(tmp_path)


def test_damaged_files_are_refused_by_name(content: dict[str, Any], path: Path) -> None:
    torch.save(content, path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    sizes = [0, 1, 100, len(whole) // 2, len(whole) - 1]
    for size in sizes:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"damaged or cut short.*last\.ckpt"):
            load_checkpoint(path)
    refused = 0
    for position in rng.integers(0, len(whole), 60):
        flipped = bytearray(whole)
        flipped[position] ^= 0xFF
        path.write_bytes(flipped)
        try:
            weights = load_checkpoint(path).state_dict
        except ValueError as error:
            assert "last.ckpt" in str(error)  # noqa: PT017 (some flips hit padding between the entries)
            refused += 1
        else:
            assert all(
                torch.equal(weights[name.removeprefix("model.")], w) for name, w in content["state_dict"].items()
            )
    assert refused > 40


def test_other_files_are_refused_by_name(content: dict[str, Any], path: Path) -> None:
    path.write_text("not a checkpoint")
    with pytest.raises(ValueError, match=r"no checkpoint: .*last\.ckpt"):
        load_checkpoint(path)
    with path.open("wb") as file:
        np.savez(file, weights=np.zeros(3))
    with pytest.raises(ValueError, match=r"last\.ckpt"):
        load_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match=r"last\.ckpt is not a checkpoint of sos: it holds list"):
        load_checkpoint(path)
    torch.save({"path": path}, path)
    with pytest.raises(ValueError, match="more than tensors and plain values"):
        load_checkpoint(path)


@pytest.mark.parametrize("key", ["hyper_parameters", "state_dict", "config", "vocabulary"])
def test_missing_keys_are_named(content: dict[str, Any], path: Path, key: str) -> None:
    (content if key in content else content["hyper_parameters"]).pop(key)
    torch.save(content, path)
    with pytest.raises(ValueError, match=rf"last\.ckpt is not a checkpoint of sos: .*{key} is missing"):
        load_checkpoint(path)


def test_no_weights(content: dict[str, Any], path: Path) -> None:
    torch.save(content | {"state_dict": {"other": torch.zeros(1)}}, path)
    with pytest.raises(ValueError, match="no weights of the model"):
        load_checkpoint(path)


def test_another_vocabulary_is_refused(system: System, content: dict[str, Any], path: Path) -> None:
    torch.save(content, path)
    loaded = load_checkpoint(path)
    digits = build_system(replace(CONFIG, stream=replace(CONFIG.stream, numbers="digits")))
    with pytest.raises(ValueError, match=r"another vocabulary: its token 13 is '10', and '>' in dialect compact"):
        load_model(loaded, digits)
    symbols = json.loads(loaded.vocabulary) | {"symbols": [*system.dialect.vocab.symbols, "extra"]}
    longer = replace(loaded, vocabulary=json.dumps(symbols))
    with pytest.raises(ValueError, match="is 'extra', and missing in dialect compact"):
        load_model(longer, system)
    with pytest.raises(ValueError, match="its vocabulary cannot be read"):
        load_model(replace(loaded, vocabulary="{}"), system)


def test_weights_of_another_shape_are_refused(system: System, content: dict[str, Any], path: Path) -> None:
    torch.save(content, path)
    loaded = load_checkpoint(path)
    name = "embed.weight"
    wide = replace(loaded, state_dict=loaded.state_dict | {name: torch.zeros(5, 16)})
    with pytest.raises(
        ValueError, match=rf"last\.ckpt does not fit its own config: weight {name} is \(5, 16\), the model"
    ):
        load_model(wide, system)
    few = replace(loaded, state_dict={k: v for k, v in loaded.state_dict.items() if k != name})
    with pytest.raises(ValueError, match=f"weight {name} is none, the model has"):
        load_model(few, system)


def test_evaluate_writes_a_finished_run(
    content: dict[str, Any], path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    torch.save(content, path)
    home = path.parent.parent
    earlier = {"name": "seed=1", "overrides": {"seed": "1"}, "train": {"tokens": 9000, "steps": 70, "seconds": 8.5}}
    (home / "metrics.json").write_text(json.dumps(earlier))
    arguments = ["eval.num_problems=6", "eval.pass_k=[]", "eval.max_tokens=5", "device=cpu"]
    assert main([str(path), *arguments]) == 0
    output = capsys.readouterr().out
    assert "solved" in output
    assert output.endswith(f"wrote {home / 'evaluation'}\n")
    (run,) = load_runs([home / "evaluation"])
    assert (run.name, run.seed) == ("seed=1", 1)
    assert run.overrides == {"seed": "1"} | dict(argument.split("=") for argument in arguments[:3])
    assert run.train["seconds"] == 8.5
    assert run.train["problems"] == 120
    assert run.metrics["solve/val"].num == 6
    assert run.config["eval"]["max_tokens"] == 5

    # A run folder will do, and the totals of another step are not taken over.
    (home / "metrics.json").write_text(json.dumps(earlier | {"train": {"steps": 9, "seconds": 1.0}}))
    assert main([str(home), *arguments, f"out={tmp_path / 'elsewhere'}"]) == 0
    (run,) = load_runs([tmp_path / "elsewhere"])
    assert "seconds" not in run.train
    assert run.problem_digests == load_runs([home / "evaluation"])[0].problem_digests


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "RUN is missing: a run folder or a checkpoint"),
        (["a", "b"], "one RUN at a time, got a and b"),
        (["a", "seed=2"], "unknown key 'seed'; known are out, device, eval"),
        (["nowhere.ckpt"], "no such checkpoint: nowhere.ckpt"),
        (["RUN", "eval.num_problem=2"], "num_problem"),
        (["RUN", "eval.num_problems=many"], "eval.num_problems"),
        (["RUN", "eval.num_problems=0"], "eval.num_problems must be at least 1, got 0"),
        (["RUN", "eval.pass_k=[1,"], "eval.pass_k=[1,: "),
        (["RUN", "device=abacus"], "device=abacus"),
    ],
)
def test_mistakes_of_the_user_take_one_line(
    arguments: list[str], complaint: str, content: dict[str, Any], path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(content, path)
    assert main([argument.replace("RUN", str(path)) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert complaint in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("verb", ["evaluate", "attempts", "recovery", "losses"])
@pytest.mark.parametrize(
    ("group", "values", "said"),
    [
        ("search", {"beam": 5}, "beam"),
        ("stream", {"dialect": "gone.yaml"}, "no dialect 'gone.yaml'"),
        ("data", None, "data must hold keys, got None"),
    ],
)
def test_a_config_that_cannot_be_read_names_the_file_and_the_key(
    verb: str,
    group: str,
    values: dict[str, Any] | None,
    said: str,
    content: dict[str, Any],
    path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = content["hyper_parameters"]["config"]
    config[group] = None if values is None else config[group] | values
    torch.save(content, path)
    assert call(verb, [str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(path) in error
    assert said in error


@pytest.mark.parametrize(
    ("text", "said"),
    [('{"name": "a', "Unterminated string"), ("", "Expecting value"), ('{"train": [1]}', "train must hold keys")],
)
def test_a_damaged_result_is_said_before_an_evaluation(
    text: str,
    said: str,
    content: dict[str, Any],
    path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.save(content, path)
    home = path.parent.parent
    (home / "metrics.json").write_text(text)
    monkeypatch.setattr("sos.judge.evaluation.evaluate", None)
    assert main([str(home), "device=cpu"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: damaged {home / 'metrics.json'}: {said}")
    assert error.count("\n") == 1
    assert not (home / "evaluation").exists()


def test_as_a_command() -> None:
    command = [sys.executable, "-m", "sos", "evaluate"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "eval.num_problems" in shown.stdout
    failed = subprocess.run([*command, "a", "ot=x"], capture_output=True, text=True)
    complaint = "error: unknown key 'ot'; did you mean out?\n"
    assert (failed.returncode, failed.stderr) == (2, complaint)


def rewritten(path: Path, change: Any) -> None:
    """Write the zip anew; `change` gets the names and contents of the entries and the archive to write to."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        change(entries, archive)


def test_what_would_unpack_to_more_than_the_file_is_refused(content: dict[str, Any], path: Path) -> None:
    """4 MB may stand for 4 GiB in a compressed entry, in entries over each other, and in a tensor without its numbers."""
    torch.save(content, path)

    def compressed(entries: dict[str, bytes], archive: zipfile.ZipFile) -> None:
        for name, value in entries.items():
            archive.writestr(name, value)
        archive.writestr("archive/data/999", bytes(1 << 24), zipfile.ZIP_DEFLATED)

    rewritten(path, compressed)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(ValueError, match=r"last\.ckpt is damaged, or no checkpoint: compressed entries"):
        load_checkpoint(path)
    torch.save(content | {"state_dict": {"model.x": torch.zeros(1).as_strided((1 << 20, 1 << 20), (0, 0))}}, path)
    with pytest.raises(ValueError, match=r"a tensor of \d+ numbers in a storage of 1"):
        load_checkpoint(path)
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    torch.save(content | {"deep": deep}, path)
    with pytest.raises(ValueError, match=r"last\.ckpt is damaged, or no checkpoint: nested too deeply"):
        load_checkpoint(path)


def test_a_pickle_that_numbers_a_value_beyond_its_end_is_refused(content: dict[str, Any], path: Path) -> None:
    """Python would make room for 2**31 values, 34 GB, before it reads on."""
    torch.save(content, path)

    def numbered(entries: dict[str, bytes], archive: zipfile.ZipFile) -> None:
        for name, value in entries.items():
            put = b"}r" + (2**31).to_bytes(4, "little") + b"."  # an empty dict, put away under that number
            archive.writestr(name, b"\x80\x02" + put if name.endswith("data.pkl") else value)

    rewritten(path, numbered)
    with pytest.raises(
        ValueError, match=r"last\.ckpt is damaged, or no checkpoint: a value numbered 2147483648 in 9 bytes"
    ):
        load_checkpoint(path)


def test_a_config_of_odd_values_is_refused_by_name(content: dict[str, Any], path: Path) -> None:
    values = content["hyper_parameters"]["config"]
    odd = {"hyper_parameters": content["hyper_parameters"] | {"config": values | {"seed": torch.zeros(3)}}}
    torch.save(content | odd, path)
    with pytest.raises(ValueError, match=r"hyper_parameters/config/seed is of type Tensor"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("keys", "value"), [(("model", "num_layers"), 1_000_000), (("model", "width"), 2**40), (("data", "context"), 2**40)]
)
def test_a_config_that_asks_for_more_than_the_file_holds_is_refused_by_name(
    keys: tuple[str, str], value: int, content: dict[str, Any], path: Path
) -> None:
    content["hyper_parameters"]["config"][keys[0]][keys[1]] = value
    torch.save(content, path)
    loaded = load_checkpoint(path)
    with pytest.raises(UserError, match=r"last\.ckpt") as told:
        load_model(loaded, build_system(config_of(loaded)))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda w: torch.full_like(w, float("nan")), "is not finite"),
        (lambda w: torch.full_like(w, float("inf")), "is not finite"),
        (lambda w: w.double(), "torch.float64, trainer.precision=32-true"),
        (lambda w: w.half(), "torch.float16, trainer.precision=32-true"),
        (lambda w: w[None], "the model has"),
    ],
)
def test_weights_that_cannot_be_those_of_the_run_are_refused_by_name(
    change: Any, complaint: str, system: System, content: dict[str, Any], path: Path
) -> None:
    content["state_dict"]["model.norm.weight"] = change(content["state_dict"]["model.norm.weight"])
    torch.save(content, path)
    with pytest.raises(ValueError, match=rf"last\.ckpt.*norm\.weight.*{complaint}"):
        load_model(load_checkpoint(path), system)


def test_another_version_of_the_dialect_is_refused(system: System, content: dict[str, Any], path: Path) -> None:
    content["hyper_parameters"]["dialect_hash"] = "0" * 16
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"last\.ckpt was trained on another version of the dialect compact"):
        load_model(load_checkpoint(path), system)
    content["hyper_parameters"]["dialect_hash"] = dialect_hash(system.dialect)
    torch.save(content, path)
    load_model(load_checkpoint(path), system)
