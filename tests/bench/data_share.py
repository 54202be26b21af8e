"""How much of the training time making the data takes, for each experiment: CPU seconds of one thread.

Run `python tests/bench/data_share.py [EXPERIMENT ...] [--blocks 3] [--steps 12]`; `default` is the run without an experiment.
Of each are timed blocks of packed batches, and training steps on the batches of one block; kernels are compiled before.
Each figure is the median, per token with a loss.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time

import torch
from train_speed import our_step

from sos.compose import compose
from sos.data.loader import Budget, PackedLoader
from sos.datasets.source import build_source
from sos.model.cpu.threads import set_num_threads
from sos.system import build_system, gpt_config
from sos.train.plan import rows_per_batch

EXPERIMENTS = (
    "default",
    "path_star",
    "layered",
    "sudoku",
    "maze",
    "sat",
    "sokoban",
    "practice",
    "hints",
    "lessons",
    "plan",
    "whole_numbers",
    "game24",
    "sudoku_levels",
    "speedrun_cpu",
)


def shares(experiment: str, num_blocks: int, num_steps: int) -> str:
    """Return a line of figures."""
    config = compose([] if experiment == "default" else [f"experiment={experiment}"])
    system, rows = build_system(config), rows_per_batch(config)
    options = {"rows_per_batch": rows, "block": config.data.block, "prompt_loss": config.data.prompt_loss}
    loader = iter(PackedLoader(build_source(config, system), Budget("tokens", 10**12), **options))
    batches, making = [next(loader)], []
    for _ in range(num_blocks + 1):  # the first one may compile
        start, targets, block = time.process_time(), 0, batches[-1]["cursor"]["block"]
        while batches[-1]["cursor"]["block"] == block:
            batches.append(next(loader))
            targets += int(batches[-1]["num_targets"])
        making.append((time.process_time() - start) / targets)
    step = our_step(
        config, gpt_config(config, len(system.dialect.vocab)), itertools.cycle(batches[:8]), torch.device("cpu")
    )
    training = []
    for number in range(num_steps + 2):
        start = time.process_time()
        targets = int(step()[1])
        if number > 1:
            training.append((time.process_time() - start) / targets)
    data, step_time = statistics.median(making[1:]), statistics.median(training)
    return f"{1e6 * data:.2f} us of data, {1e6 * step_time:.1f} us of training a token: {data / (data + step_time):.2%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiments", nargs="*", default=list(EXPERIMENTS), metavar="EXPERIMENT")
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    set_num_threads(1)
    for experiment in arguments.experiments:
        print(f"{experiment}: {shares(experiment, arguments.blocks, arguments.steps)}", flush=True)


if __name__ == "__main__":
    main()
