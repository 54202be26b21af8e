"""Training steps beside nanoGPT's on the CPU, at equal shape, vocabulary and batch: tokens/s and useful tokens/s.

Run `python tests/bench/train_speed.py --peer nanoGPT/model.py [--compile] [--steps 20] [key=value ...]`, the keys being those of
train.py (default: its default run with the peer's optimizer, AdamW; with `optim=muon` the optimizers are compared as well). `--peer`
is model.py of a clone of github.com/karpathy/nanoGPT, whose step is as in its train.py: random rows, forward with the loss,
backward, clip, AdamW. Without it only the rows of this package are timed.

All variants take turns, step by step. Time is that of the process (all threads), medians, first steps not counted.
`padded` is this package's model with one trace per row, as is usual without packing; useful tokens are those with a loss.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from sos.build import build_source, build_system, gpt_config
from sos.config import Config, register, to_object
from sos.data.module import PackedLoader
from sos.data.packing import IGNORE, Rows, pack
from sos.data.streams import StreamSource
from sos.model.gpt import GPT
from sos.model.shape import GPTConfig
from sos.pretrain import rows_per_batch
from sos.train.lit import packed_loss
from sos.train.optim import build_optimizer

CONF = Path(__file__).parents[2] / "conf"
Step = Callable[[], tuple[int, int]]  # trains once; returns (positions that hold a token, positions with a loss)


def our_step(config: Config, gpt: GPTConfig, batches: Iterator[dict[str, Any]], compiled: bool) -> Step:
    """The computation of `LitGPT`, in a plain loop."""
    torch.manual_seed(0)
    model = GPT(gpt)
    optimizer = build_optimizer(model, model.blocks, config.optim, fused=True)
    if compiled:
        model.compile()

    def step() -> tuple[int, int]:
        batch = next(batches)
        loss, _ = packed_loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.optim.grad_clip)
        optimizer.step()
        return int((batch["doc_ids"] >= 0).sum()), batch["num_targets"]

    return step


def padded_batches(source: StreamSource, rows_per_batch: int) -> Iterator[dict[str, Any]]:
    """One trace per row, padded to the context."""
    start = 0
    while True:
        chunk = source.chunk(start, start + 2 * rows_per_batch)
        start += 2 * rows_per_batch
        rows = []
        for k in range(min(len(chunk.prompts), rows_per_batch)):
            one = slice(chunk.offsets[k], chunk.offsets[k + 1])
            single = chunk._replace(
                tokens=chunk.tokens[one],
                kinds=chunk.kinds[one],
                offsets=chunk.offsets[k : k + 2] - chunk.offsets[k],
                prompts=chunk.prompts[k : k + 1],
            )
            rows.append(pack(single, source.context, np.uint64(0)))
        batch = Rows(*(np.concatenate(arrays) for arrays in zip(*rows, strict=True)))
        tensors: dict[str, Any] = {k: torch.from_numpy(v) for k, v in batch._asdict().items()}
        yield tensors | {"num_targets": int((batch.targets != IGNORE).sum())}


def peer_step(path: str, config: Config, gpt: GPTConfig, rows: int, compiled: bool) -> Step:
    """nanoGPT's loop on random crops of random data: every position is a target."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    shape = {"n_layer": gpt.num_layers, "n_head": gpt.num_heads, "n_embd": gpt.width, "bias": False, "dropout": 0.0}
    model = module.GPT(module.GPTConfig(block_size=gpt.context, vocab_size=gpt.vocab_size, **shape))
    optim = config.optim
    optimizer = model.configure_optimizers(optim.weight_decay, optim.lr, (optim.beta1, optim.beta2), "cpu")
    if compiled:
        model.compile()
    data = np.random.default_rng(0).integers(0, gpt.vocab_size, 1_000_000).astype(np.uint16)

    def step() -> tuple[int, int]:
        starts = torch.randint(len(data) - gpt.context, (rows,)).tolist()
        x = torch.stack([torch.from_numpy(data[i : i + gpt.context].astype(np.int64)) for i in starts])
        y = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + gpt.context].astype(np.int64)) for i in starts])
        _, loss = model(x, y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), optim.grad_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return x.numel(), x.numel()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        same = [] if any(key.startswith("optim=") for key in arguments.overrides) else ["optim=adamw"]
        config = to_object(compose("config", overrides=same + arguments.overrides))
    system, rows = build_system(config), rows_per_batch(config)
    gpt, source = gpt_config(config, len(system.dialect.vocab)), build_source(config, system)
    options = {"block": config.data.block, "prompt_loss": False, "match": "tokens", "amount": 10**9}
    packed = iter(PackedLoader(source, rows_per_batch=rows, **options))
    steps = {
        "packed": our_step(config, gpt, packed, arguments.compile),
        "padded": our_step(config, gpt, padded_batches(source, rows), arguments.compile),
    }
    if arguments.peer:
        steps["nanoGPT"] = peer_step(arguments.peer, config, gpt, rows, arguments.compile)
    times: dict[str, list[float]] = {name: [] for name in steps}
    counts = {name: np.zeros(2) for name in steps}
    for number in range(arguments.steps + 3):
        for name, step in steps.items():
            started = time.process_time()
            done = step()
            if number >= 3:
                times[name].append(time.process_time() - started)
                counts[name] += done
    print(f"{gpt.num_layers} layers, width {gpt.width}, {rows} rows of {gpt.context}, compiled: {arguments.compile}")
    median = {name: statistics.median(values) for name, values in times.items()}
    rates = {name: rows * gpt.context / median[name] for name in steps}
    useful = {name: counts[name][1] / arguments.steps / median[name] for name in steps}
    for name in steps:
        share = counts[name][0] / arguments.steps / rows / gpt.context
        print(
            f"{name:8} {1e3 * median[name]:7.1f} ms  {rates[name]:8.0f} positions/s, {share:.0%} of them tokens, "
            f"{useful[name]:8.0f} useful tokens/s"
        )
    print(f"useful tokens/s, packed to padded (same model): {useful['packed'] / useful['padded']:.2f}")
    if arguments.peer:
        print(f"positions/s, packed to nanoGPT: {rates['packed'] / rates['nanoGPT']:.2f}")
        padding = counts["padded"][1] / arguments.steps / rows / gpt.context
        print(
            f"useful tokens/s, packed to nanoGPT padded to the context: {useful['packed'] / (rates['nanoGPT'] * padding):.2f}"
        )


if __name__ == "__main__":
    main()
