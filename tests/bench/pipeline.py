"""Benchmark of making training data on one core: from a problem's number to packed rows.

Run `python tests/bench/pipeline.py`. CPU seconds of one thread, the median of several blocks, compilation excluded.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir

from sos.compose import register, to_object
from sos.data.packing import pack
from sos.datasets.source import build_source
from sos.system import build_system

PAPER = ["env=countdown_paper", "env.max_value=9801", "data.context=4096"]
SETTINGS = {
    "default, full": [],
    "default, solution paths": ["stream.view=solution_path"],
    "4 numbers, compact digits": [*PAPER, "stream.numbers=digits"],
    "4 numbers, published wording": [*PAPER, "stream=sos", "search=dfs_paper"],
    "the speedrun": ["experiment=speedrun"],
    "the speedrun, solution paths": ["experiment=speedrun", "stream.view=solution_path"],
}
VISITS, BLOCKS = 512, 7


def main() -> None:
    register()
    print(f"{'':30} {'tokens/s':>12} {'without packing':>16} {'tokens/stream':>14} {'too long':>9}")
    with initialize_config_dir(str(Path(__file__).parents[2] / "conf"), version_base="1.3"):
        for name, overrides in SETTINGS.items():
            config = to_object(compose("config", overrides))
            source = build_source(config, build_system(config))
            source.chunk(0, 8)
            found = []
            for block in range(BLOCKS):
                started = time.process_time()
                chunk = source.chunk(block * VISITS, (block + 1) * VISITS)
                made = time.process_time()
                pack(chunk, config.data.context, np.uint64(block), False)
                packed = time.process_time()
                tokens = len(chunk.tokens)
                dropped = chunk.num_dropped / VISITS
                found.append(
                    (tokens / (packed - started), tokens / (made - started), tokens / len(chunk.prompts), dropped)
                )
            rate, unpacked, length, dropped = np.median(np.array(found), 0)
            print(f"{name:30} {rate:12,.0f} {unpacked:16,.0f} {length:14,.0f} {dropped:9.1%}", flush=True)


if __name__ == "__main__":
    main()
