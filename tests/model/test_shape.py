"""Tests of the shapes of a GPT: presets, and settings that are refused."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from gpts import CONTEXT, VOCAB

import sos.model.shape as shape_module
from sos.errors import UserError
from sos.model.gpt import GPT
from sos.model.shape import PRESETS, GPTConfig


def test_presets_have_the_parameters_that_the_docstring_states() -> None:
    rows = re.findall(r"^    (\w+) +(\d+) +(\d+) +(\d+) +(\d+\.\d{3})$", shape_module.__doc__ or "", flags=re.MULTILINE)
    assert [row[0] for row in rows] == list(PRESETS)
    for name, num_layers, width, num_heads, millions in rows:
        assert PRESETS[name] == {"num_layers": int(num_layers), "width": int(width), "num_heads": int(num_heads)}
        with torch.device("meta"):
            model = GPT(GPTConfig(vocab_size=100, context=64, **PRESETS[name]))
        assert model.num_parameters() - 100 * int(width) == pytest.approx(float(millions) * 1e6, abs=501)


def test_the_config_is_plain_data() -> None:
    config = GPTConfig(vocab_size=VOCAB, context=CONTEXT, **PRESETS["nano"])
    plain = dataclasses.asdict(config)
    assert all(type(value) in (int, float, bool, str) for value in plain.values())
    assert GPTConfig(**plain) == config


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vocab_size", 0),
        ("context", -1),
        ("num_layers", 0),
        ("num_heads", 0),
        ("num_heads", 5),
        ("num_kv_heads", -1),
        ("num_kv_heads", 3),
        ("width", 30),
        ("mlp_ratio", 0.0),
        ("mlp_ratio", float("nan")),
        ("rope_theta", -1.0),
        ("dropout", 1.0),
        ("kernels", "flash"),
        ("vocab_size", 2**40),
        ("context", 2**40),
        ("num_layers", 1_000_000),
        ("num_heads", 1_000_000),
        ("num_kv_heads", 1_000_000),
        ("width", 2**20),
        ("mlp_ratio", 1e12),
        ("embed_std", 0.0),
    ],
)
def test_a_bad_setting_is_refused_by_name(key: str, value: object) -> None:
    settings = {"vocab_size": VOCAB, "context": CONTEXT, "num_heads": 2, "width": 32} | {key: value}
    with pytest.raises(ValueError, match=rf"model\.{key}.*{value}"):
        GPTConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"num_layers": 1024}, {"vocab_size": 2**20}, {"mlp_ratio": 64.0}])
def test_sizes_that_are_each_allowed_and_too_much_together_are_refused(change: dict) -> None:
    settings = {"vocab_size": 100, "context": 64, "width": 8192, "num_layers": 4, "num_heads": 8} | change
    with pytest.raises(UserError, match=r"model\.num_layers=\d+ with model\.width=8192 makes \d{10,} parameters"):
        GPTConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "overrides",
    [{}, {"qk_norm": True}, {"num_heads": 4, "num_kv_heads": 2}, {"tie_embeddings": False, "mlp_ratio": 2.5}],
)
def test_parameters_are_counted_before_there_are_any(overrides: dict) -> None:
    config = GPTConfig(**{"vocab_size": VOCAB, "context": CONTEXT, "num_heads": 2, "width": 64} | overrides)
    with torch.device("meta"):
        assert config.num_parameters == GPT(config).num_parameters()
