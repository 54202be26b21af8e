"""Tests of how many threads a run takes, what it says of them, and that they are no part of what it is."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import torch

from sos.compose import compose
from sos.config import config_hash
from sos.model.cpu import threads
from sos.model.cpu.cores import usable_cores
from sos.model.gpt import GPT
from sos.model.shape import GPTConfig
from sos.train.pretrain import set_threads, threads_line
from sos.train.throughput import peak_flops


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    """Torch and the package get their own numbers of threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    threads.set_num_threads(0)


def model_of(**overrides: float | str) -> GPT:
    return GPT(GPTConfig(vocab_size=9, context=8, num_layers=1, num_heads=1, width=16, **overrides))  # type: ignore[arg-type]


def test_a_run_takes_the_physical_cores_or_what_it_is_told() -> None:
    for words, expected in (
        ([], usable_cores()),
        (["trainer.num_threads=3"], 3),
        (["trainer.devices=64"], 1),  # as many processes share them
    ):
        options = compose(words).trainer
        set_threads(options)
        assert threads.num_threads() == expected
        assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("words", "model", "says"),
    [
        (
            ["trainer.num_threads=3"],
            {},
            f"3 threads on {usable_cores()} physical cores; any number gives the same bits",
        ),
        (["trainer.num_threads=1"], {}, f"1 thread on {usable_cores()} physical"),
        ([], {"kernels": "torch"}, "PyTorch trains on one thread.*model.kernels=torch"),
        ([], {"dropout": 0.5}, "PyTorch trains on one thread.*dropout"),
        (["trainer.precision=bf16-mixed"], {}, "PyTorch trains on one thread.*trainer.precision=bf16-mixed"),
    ],
    ids=str,
)
def test_a_run_says_how_many_threads_train(words: list[str], model: dict[str, float | str], says: str) -> None:
    options = compose(words).trainer
    set_threads(options)
    line = threads_line(options, model_of(**model))
    assert re.match(says, line), line


def test_the_number_of_threads_makes_no_other_run() -> None:
    assert config_hash(compose(["trainer.num_threads=4"])) == config_hash(compose([]))
    assert config_hash(compose(["trainer.batch_tokens=4096"])) != config_hash(compose([]))


def test_the_peak_is_that_of_all_threads_together() -> None:
    """No time is asserted: a thread's product counts as often as there are threads."""
    found = []
    for num in (1, 2):
        threads.set_num_threads(num)
        found.append(peak_flops(torch.device("cpu"), torch.float32))
    assert all(peak > 0 for peak in found)
