"""A checkpoint in transformers' form gives the same logits there (skipped without the extra `export`)."""

from __future__ import annotations

import itertools
import json
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from places import ROOT
from tiny_run import train

from sos.commands.cli import call
from sos.config import config_from_dict
from sos.interop.model_card import RECIPE
from sos.interop.model_folder import Words, export
from sos.interop.transformers import hf_config, hf_weights
from sos.model.gpt import GPT
from sos.model.shape import GPTConfig
from sos.runs.checkpoint import load_checkpoint
from sos.runs.folder import RunFolder
from sos.stream.codec import encode_prompt
from sos.stream.dialect.vocab import BOS, EOS, Vocabulary
from sos.stream.verify import verify_tokens
from sos.system import build_system

main = partial(call, "export")

VOCABULARY = Vocabulary(("+", "-", "="), 20, True)


def make_model(**overrides: Any) -> GPT:
    torch.manual_seed(0)
    config = GPTConfig(len(VOCABULARY), 32, **{"num_layers": 2, "num_heads": 2, "width": 32} | overrides)
    model = GPT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # nothing zero, no gain of exactly 1
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


@pytest.mark.parametrize(
    "overrides", [{}, {"qk_norm": True}, {"tie_embeddings": False}, {"num_heads": 4, "num_kv_heads": 2}]
)
def test_every_parameter_is_written_once(overrides: dict) -> None:
    model = make_model(**overrides)
    weights = hf_weights(model)
    assert sum(weight.numel() for weight in weights.values()) == model.num_parameters()
    assert hf_config(model.config)["model_type"] == ("qwen3" if overrides.get("qk_norm") else "llama")


@pytest.mark.parametrize(
    "overrides", [{}, {"qk_norm": True}, {"tie_embeddings": False}, {"num_heads": 4, "num_kv_heads": 2}]
)
def test_transformers_computes_the_same_logits(tmp_path: Path, overrides: dict) -> None:
    pytest.importorskip("safetensors")
    transformers = pytest.importorskip("transformers")
    model = make_model(**overrides)
    export(model, Words(VOCABULARY), tmp_path / "hf")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
    tokens = torch.randint(len(VOCABULARY), (2, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(theirs(tokens).logits, model(tokens), atol=1e-4, rtol=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert tokenizer("3 + 14 = 17")["input_ids"] == [
        BOS,
        *VOCABULARY.tokenizer().encode("3 + 14 = 17").ids,
    ]
    with pytest.raises(ValueError, match="not an empty folder"):
        export(model, Words(VOCABULARY), tmp_path / "hf")


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_all_files_have_the_mode_of_the_umask(tmp_path: Path, mask: int) -> None:
    pytest.importorskip("safetensors")
    old = os.umask(mask)
    try:
        export(make_model(), Words(VOCABULARY), tmp_path / "hf", record={"config": {}}, card="# Model")
    finally:
        os.umask(old)
    files = sorted((tmp_path / "hf").iterdir())
    assert len(files) == 6
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~mask}


def test_generation_ends_where_rollouts_end(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    export(make_model(), Words(VOCABULARY), tmp_path / "hf", record={"config": {"seed": 3}})
    generation = json.loads((tmp_path / "hf" / "generation_config.json").read_text())
    assert generation == {"do_sample": False, "max_length": 32, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["sos"] == {"config": {"seed": 3}}
    assert not (tmp_path / "hf" / "README.md").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Path]:
    """A trained run, and the folder of its export."""
    pytest.importorskip("safetensors")
    folder = tmp_path_factory.mktemp("trained")
    run = train(folder / "run")
    assert main([str(run.path), f"out={folder}/hf"]) == 0
    return run, folder / "hf"


def test_the_page_shows_the_recipe_of_the_card() -> None:
    page = (ROOT / "docs" / "transformers.md").read_text(encoding="utf-8")
    assert RECIPE.format(prompt="9 , 7 , 1 > 56 :").strip() in page
    assert RECIPE.count("\n") <= 10


@pytest.mark.slow
def test_the_card_has_the_table_the_command_and_the_config(trained: tuple[RunFolder, Path]) -> None:
    run, folder = trained
    card = (folder / "README.md").read_text()
    metrics = json.loads(run.metrics.read_text())["metrics"]
    named = {"/".join(row) for row in re.findall(r"^\| (\S+) \| (\S+) \| \d", card, re.M)}
    assert {"solve/val", "teacher/val", "errors_per_trace/val", "tokens/val"} <= named
    assert named < metrics.keys()
    assert f"| solve | val | {100 * metrics['solve/val']['value']:.1f}% [" in card
    assert "dialect_hash" in card
    assert "  num_layers: 2" in card
    assert re.search(r"tokenizer puts `<bos>` in front", card)


@pytest.mark.slow
def test_the_recipe_of_the_card_solves_what_our_rollouts_solve(trained: tuple[RunFolder, Path]) -> None:
    """The ten lines, with the problems of the evaluation in place of the example."""
    pytest.importorskip("transformers")
    run, folder = trained
    system = build_system(config_from_dict(load_checkpoint(run.checkpoint).config))
    with np.load(run.path / "rollouts_val.npz") as ours:
        problems, offsets, solved = ours["problems"], ours["offsets"], ours["solved"]
        tokens = [ours["tokens"][a:b].tolist() for a, b in itertools.pairwise(offsets)]
    recipe = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[1]  # type: ignore[index]
    prompts = [system.dialect.text(encode_prompt(system.dialect, problem)) for problem in problems]
    code = re.sub(r"^prompts = .*$", f"prompts = {prompts!r}", recipe, flags=re.M)
    assert code != recipe
    names: dict[str, Any] = {"FOLDER": str(folder)}
    exec(code, names)
    answers = names["tokenizer"].batch_decode(names["answers"], skip_special_tokens=True)
    same = 0
    for k, (row, problem) in enumerate(zip(names["answers"].tolist(), problems, strict=True)):
        written = row[: row.index(EOS) + 1] if EOS in row else row
        same += written == tokens[k]
        assert verify_tokens(system.dialect, system.env, problem, written)[0].solved == solved[k]
        assert answers[k] == system.dialect.text(written)
    assert same >= len(problems) - 1, "but for a tie in the last bits"
    assert 0 < solved.sum() < len(problems)
    assert len(problems) == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out=x"], "PLACE is missing"),
        (["a", "out=b", "to=c"], "'to'"),
        (["/no", "out=b"], "/no"),
    ],
)
def test_bad_arguments_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
