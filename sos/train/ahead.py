"""Compiles the kernels of a run in processes beside it, while the run compiles those that it needs first.

On a machine that has not made such a run before, about a hundred seconds of compiling lie before the first step, one
kernel after the other. `compiling_ahead` has those that are needed last compiled at the same time, as far as there are
cores; `sos.kernels.claims` sees to it that no kernel is compiled twice. A process that fails costs nothing but time:
the run compiles what is missing.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch

from sos.config import Config
from sos.data.chunks import Chunk
from sos.data.loader import Budget, PackedLoader
from sos.datasets.make import end_with
from sos.judge.optima import optima
from sos.kernels import when_cold
from sos.model.cpu.cores import usable_cores
from sos.model.gpt import GPT
from sos.model.rollout import rollout
from sos.stream.dialect.vocab import BOS
from sos.stream.verify import verify_tokens
from sos.system import System, build_system, gpt_config
from sos.train.lit import packed_loss
from sos.train.optim import build_optimizer

MOST_HELPERS = 2
HELPERS: list[subprocess.Popen[bytes]] = []  # of this process
NUM_STREAMS, STREAM_TOKENS = 4, 8  # of the data that steps are compiled with


class _Blank:
    """Streams of nothing but the first token."""

    seed = 0

    def __init__(self, context: int) -> None:
        self.context = context

    def chunk(self, start: int, stop: int) -> Chunk:
        num, size = NUM_STREAMS, min(STREAM_TOKENS, self.context)
        kinds = np.zeros(num * size, np.int8)
        offsets, prompts = np.arange(num + 1) * size, np.ones(num, np.int32)
        return Chunk(kinds.astype(np.uint16), kinds, offsets, prompts, np.arange(num), 0, np.zeros(num, np.int32))

    fill = chunk


def _model(config: Config, system: System) -> GPT:
    return GPT(gpt_config(config, len(system.dialect.vocab)))


def _training(config: Config, system: System) -> None:
    """Compile packing and a step."""
    model = _model(config, system)
    optimizer = build_optimizer(model, model.blocks, config.optim, fused=True)
    loader = PackedLoader(
        _Blank(config.data.context),
        Budget("problems", NUM_STREAMS),
        rows_per_batch=1,
        block=NUM_STREAMS,
        prompt_loss=config.data.prompt_loss,
    )
    packed_loss(model, next(iter(loader)))[0].backward()
    optimizer.step()


def _answers(config: Config, system: System) -> None:
    """Compile the reader and the verifier, then rollouts."""
    problem = np.zeros(system.env.problem_width, np.int32)
    verify_tokens(system.dialect, system.env, problem, np.full(3, BOS))
    optima(system.env, problem[None][:0])
    rollout(_model(config, system), [np.array([BOS])], max_tokens=2)


PARTS: tuple[Callable[[Config, System], None], ...] = (_answers, _training)


def compile_parts(config: Config, first: int) -> None:
    """Compile what a run of `config` needs on a CPU behind its data, from part `first` of `PARTS` on."""
    torch.set_num_threads(1)
    system = build_system(config)
    for number in range(len(PARTS)):
        PARTS[(first + number) % len(PARTS)](config, system)


@contextmanager
def compiling_ahead(config: Config) -> Iterator[None]:
    """Have the kernels of a run of `config` on a CPU compiled beside it, from the first one on that is not there."""
    if config.trainer.accelerator != "cpu":
        yield
        return
    with when_cold(lambda: _start(config)):
        yield


def _start(config: Config) -> None:
    for first in range(min(MOST_HELPERS, usable_cores() - 1)):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-c", "from sos.train.ahead import main; main()"]
        with suppress(OSError):  # where there is no room for another process, the run does it all
            helper = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # Ctrl-C is the run's
            )
            HELPERS.append(helper)
            assert helper.stdin is not None
            with helper.stdin as pipe:
                pipe.write(pickle.dumps((os.getpid(), config, first)))


def main() -> None:
    """Compile for the run that is described on standard input, as long as it lasts."""
    parent, config, first = pickle.loads(sys.stdin.buffer.read())
    end_with(parent)
    compile_parts(config, first)
