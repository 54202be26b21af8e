"""What the context slot costs a training that uses no context: useful tokens/s with the slot and without it.

Run `python tests/bench/contexts.py [--turns 7] [key=value ...]`, the keys being those of train.py (default:
`experiment=practice`). The slot is on with `slot.dropout=1`, so that every stream is drawn a context and gets none: the
streams are those of a base without the slot, token for token, which is checked. Both variants take turns; a turn is as
many steps as a block of data lasts, in CPU seconds of one thread, of which the time that making the batches takes is
told apart. Medians of the turns, the first one not counted.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from train_speed import our_step

from sos.compose import register, to_object
from sos.data.loader import Budget, PackedLoader
from sos.datasets.source import build_source
from sos.model.cpu.threads import set_num_threads
from sos.system import build_system, gpt_config
from sos.train.plan import rows_per_batch

VARIANTS = {"slot=none": [], "slot=hint": ["slot=hint", "slot.dropout=1.0"]}
STREAMS = 256  # that are compared


class Timed:
    """Batches, and the seconds that making them took."""

    def __init__(self, batches: Iterator[dict[str, Any]]) -> None:
        self.batches, self.seconds = batches, 0.0

    def __iter__(self) -> Timed:
        return self

    def __next__(self) -> dict[str, Any]:
        started = time.process_time()
        batch = next(self.batches)
        self.seconds += time.process_time() - started
        return batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("overrides", nargs="*", default=["experiment=practice"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    set_num_threads(1)
    register()
    steps, batches, streams, num = {}, {}, [], 1
    for name, more in VARIANTS.items():
        with initialize_config_dir(str(Path(__file__).parents[2] / "conf"), version_base="1.3"):
            config = to_object(compose("config", overrides=[*arguments.overrides, *more]))
        system, rows = build_system(config), rows_per_batch(config)
        source = build_source(config, system)
        streams.append(source.chunk(0, STREAMS).tokens)
        block = source.chunk(0, config.data.block)
        num = max(1, round(len(block.tokens) / (rows * config.data.context)))
        options = {"rows_per_batch": rows, "block": config.data.block, "prompt_loss": False}
        loader = PackedLoader(source, Budget("tokens", 10**12), **options)
        batches[name] = Timed(iter(loader))
        gpt = gpt_config(config, len(system.dialect.vocab))
        steps[name] = our_step(config, gpt, batches[name], torch.device("cpu"))
    assert np.array_equal(*streams), "the streams are not the same"
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for turn in range(arguments.turns + 1):
        for name, step in steps.items():
            batches[name].seconds, useful, started = 0.0, 0, time.process_time()
            for _ in range(num):
                useful += int(step()[1])
            seconds = time.process_time() - started
            if turn:
                found[name].append((useful / seconds, batches[name].seconds / seconds))
    none, slot = (np.array(rows) for rows in found.values())
    for name, rows in found.items():
        rate, share = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name}: {rate:,.0f} useful tokens/s, of which making the batches takes {share:.1%}")
    ratios = slot[:, 0] / none[:, 0]
    print(
        f"tokens/s with the slot to those without: {np.median(ratios):.3f} "
        f"(turns of {num} steps: {ratios.min():.3f} to {ratios.max():.3f})"
    )


if __name__ == "__main__":
    main()
