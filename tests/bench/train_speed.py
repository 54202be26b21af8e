"""Training steps beside nanoGPT's, at equal shape, vocabulary and batch: tokens/s and useful tokens/s.

Run `python tests/bench/train_speed.py --peer nanoGPT/model.py [--turns 20] [--threads 1] [key=value ...]`, the keys being those
of train.py (default: its default run with the peer's optimizer, AdamW; with `optim=muon` the optimizers are
compared as well). `trainer.accelerator`, `trainer.precision` and `trainer.compile` hold for both, so
`experiment=speedrun` compares on a GPU. `--peer` is model.py of a clone of github.com/karpathy/nanoGPT, whose step
is as in its train.py: random rows, forward with the loss, backward, clip, AdamW. Without it only the rows of this
package are timed.

All variants take turns: one step each on a CPU, in the time of the process with one thread, by the clock with more
(then on an otherwise idle machine); ten on a GPU, which then waits for the device. Medians of the turns, the first ones
not counted. `padded` is this package's model with one trace per row, as is usual without packing; useful tokens are
those with a loss; MFU as in `sos.train.throughput`, the peer's by its rows.
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

from sos.compose import register, to_object
from sos.config import Config
from sos.data.loader import Budget, PackedLoader
from sos.data.packing import IGNORE, Rows, pack
from sos.data.streams import StreamSource
from sos.datasets.source import build_source
from sos.model.cpu.threads import num_threads, set_num_threads
from sos.model.gpt import GPT
from sos.model.shape import GPTConfig
from sos.system import build_system, gpt_config
from sos.train.lit import packed_loss
from sos.train.optim import build_optimizer
from sos.train.plan import rows_per_batch
from sos.train.precision import DTYPES, set_matmul_precision
from sos.train.throughput import peak_flops, trained_flops

CONF = Path(__file__).parents[2] / "conf"
Step = Callable[[], np.ndarray]  # trains once; returns (positions that hold a token, positions with a loss, flops)


def computing(config: Config, device: torch.device) -> torch.autocast:
    """Return the context of a forward pass."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.trainer.precision == "bf16-mixed")


def now(device: torch.device) -> float:
    """Return seconds, on a GPU when it has done what it was told."""
    if device.type == "cpu" and num_threads() == 1:
        return time.process_time()
    if device.type == "cpu":
        return time.perf_counter()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def our_step(config: Config, gpt: GPTConfig, batches: Iterator[dict[str, Any]], device: torch.device) -> Step:
    """The computation of `LitGPT`, in a plain loop."""
    torch.manual_seed(0)
    model = GPT(gpt).to(device)
    optimizer = build_optimizer(model, model.blocks, config.optim, fused=True)
    if config.trainer.compile:
        model.compile()

    def step() -> np.ndarray:
        host = next(batches)
        batch = {k: v.to(device, non_blocking=True) if torch.is_tensor(v) else v for k, v in host.items()}
        with computing(config, device):
            loss, _ = packed_loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.optim.grad_clip)
        optimizer.step()
        tokens = int((host["doc_ids"] >= 0).sum())
        return np.array([tokens, host["num_targets"], tokens * trained_flops(model, host)])

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


def peer_step(path: str, config: Config, gpt: GPTConfig, rows: int, device: torch.device) -> Step:
    """nanoGPT's loop on random crops of random data: every position is a target."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    shape = {"n_layer": gpt.num_layers, "n_head": gpt.num_heads, "n_embd": gpt.width, "bias": False, "dropout": 0.0}
    model = module.GPT(module.GPTConfig(block_size=gpt.context, vocab_size=gpt.vocab_size, **shape)).to(device)
    optim = config.optim
    optimizer = model.configure_optimizers(optim.weight_decay, optim.lr, (optim.beta1, optim.beta2), device.type)
    if config.trainer.compile:
        model.compile()
    num_tokens = rows * gpt.context
    done = np.array([num_tokens, num_tokens, num_tokens * GPT(gpt).flops_per_token()])
    data = np.random.default_rng(0).integers(0, gpt.vocab_size, 1_000_000).astype(np.uint16)

    def step() -> np.ndarray:
        starts = torch.randint(len(data) - gpt.context, (rows,)).tolist()
        x = torch.stack([torch.from_numpy(data[i : i + gpt.context].astype(np.int64)) for i in starts])
        y = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + gpt.context].astype(np.int64)) for i in starts])
        if device.type == "cuda":
            x, y = (z.pin_memory().to(device, non_blocking=True) for z in (x, y))
        with computing(config, device):
            _, loss = model(x, y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), optim.grad_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return done

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    set_num_threads(arguments.threads)
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        same = [] if any(key.startswith("optim=") for key in arguments.overrides) else ["optim=adamw"]
        config = to_object(compose("config", overrides=same + arguments.overrides))
    set_matmul_precision(config.trainer)
    device = torch.device("cpu" if config.trainer.accelerator == "cpu" else "cuda")
    system, rows = build_system(config), rows_per_batch(config)
    gpt, source = gpt_config(config, len(system.dialect.vocab)), build_source(config, system)
    options = {"rows_per_batch": rows, "block": config.data.block, "prompt_loss": False}
    packed = iter(PackedLoader(source, Budget("tokens", 10**12), **options))
    steps = {
        "packed": our_step(config, gpt, packed, device),
        "padded": our_step(config, gpt, padded_batches(source, rows), device),
    }
    if arguments.peer:
        steps["nanoGPT"] = peer_step(arguments.peer, config, gpt, rows, device)
    steps_per_turn = 1 if device.type == "cpu" else 10
    times: dict[str, list[float]] = {name: [] for name in steps}
    counts = {name: np.zeros(3) for name in steps}
    for number in range(arguments.turns + 3):
        for name, step in steps.items():
            if device.type == "cpu" and num_threads() > 1:
                time.sleep(0.02)  # the peer's threads of OpenMP spin for a while after they have worked
            started = now(device)
            done = sum((step() for _ in range(steps_per_turn)), np.zeros(3)) / steps_per_turn
            seconds = (now(device) - started) / steps_per_turn
            if number >= 3:
                times[name].append(seconds)
                counts[name] += done / arguments.turns
    peak = peak_flops(device, DTYPES[config.trainer.precision])
    print(
        f"{gpt.num_layers} layers, width {gpt.width}, {rows} rows of {gpt.context}, compiled: {config.trainer.compile}"
    )
    median = {name: statistics.median(values) for name, values in times.items()}
    rates = {name: rows * gpt.context / median[name] for name in steps}
    useful = {name: counts[name][1] / median[name] for name in steps}
    for name in steps:
        share = counts[name][0] / rows / gpt.context
        mfu = f", MFU {counts[name][2] / median[name] / peak:.1%}" if peak else ""
        print(
            f"{name:8} {1e3 * median[name]:7.1f} ms  {rates[name]:8.0f} positions/s, {share:.0%} of them tokens, "
            f"{useful[name]:8.0f} useful tokens/s{mfu}"
        )
    print(f"useful tokens/s, packed to padded (same model): {useful['packed'] / useful['padded']:.2f}")
    if arguments.peer:
        print(f"positions/s, packed to nanoGPT: {rates['packed'] / rates['nanoGPT']:.2f}")
        padding = counts["padded"][1] / rows / gpt.context
        print(
            "useful tokens/s, packed to nanoGPT padded to the context: "
            f"{useful['packed'] / (rates['nanoGPT'] * padding):.2f}"
        )


if __name__ == "__main__":
    main()
