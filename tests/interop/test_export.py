"""A checkpoint in transformers' form gives the same logits there (skipped without the extra `export`)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from sos.commands.cli import call
from sos.interop.transformers import export, hf_config, hf_weights
from sos.model.gpt import GPT
from sos.model.shape import GPTConfig
from sos.stream.dialect.vocab import Vocabulary

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
    export(model, VOCABULARY, tmp_path / "hf")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
    tokens = torch.randint(len(VOCABULARY), (2, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(theirs(tokens).logits, model(tokens), atol=1e-4, rtol=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert tokenizer("3 + 14 = 17")["input_ids"] == VOCABULARY.tokenizer().encode("3 + 14 = 17").ids
    with pytest.raises(ValueError, match="not an empty folder"):
        export(model, VOCABULARY, tmp_path / "hf")


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
