"""Training steps, rollouts and judging on several threads beside one: how much faster, and that no bit differs.

Run `python tests/bench/threads.py [--threads 1,2] [--turns 40] [key=value ...]`, the keys being those of train.py (default:
its default run). All numbers of threads take turns in one process: a step each, then rollouts and their judging. The
first number is what the others are compared with. Two ratios: by the clock, which counts on an idle machine, and by the
CPU time of the busiest thread (Linux), which other work disturbs less: it leaves out what threads wait for each other.
Figures are medians; the first three turns are not counted.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from sos.compose import register, to_object
from sos.config import Config
from sos.data.loader import Budget, PackedLoader
from sos.datasets.source import build_source
from sos.judge.problems import split_problems
from sos.judge.rollouts import judge
from sos.model.cpu.threads import set_num_threads
from sos.model.gpt import GPT
from sos.model.rollout import rollout
from sos.stream.codec import encode_prompt
from sos.system import System, build_system, gpt_config
from sos.train.lit import packed_loss
from sos.train.optim import build_optimizer
from sos.train.plan import rows_per_batch

CONF = Path(__file__).parents[2] / "conf"
WARM = 3
PROBLEMS = 128
Times = dict[str, list[tuple[float, float]]]  # what -> (seconds, CPU seconds of the busiest thread) of each turn


def cpu_seconds() -> dict[str, float]:
    """Return the CPU seconds of each thread of this process; {} where the system does not say."""
    found = {}
    for task in Path("/proc/self/task").glob("*"):
        try:
            found[task.name] = int((task / "schedstat").read_text().split()[0]) / 1e9
        except OSError:
            continue
    return found


def timed(what: str, work: Callable[[], bytes], times: Times) -> bytes:
    """Do the work, note its times under `what`, and return what it returned."""
    before, started = cpu_seconds(), time.perf_counter()
    result = work()
    seconds, after = time.perf_counter() - started, cpu_seconds()
    busiest = max((spent - before.get(task, 0.0) for task, spent in after.items()), default=0.0)
    times.setdefault(what, []).append((seconds, busiest))
    return result


class Side:
    """One number of threads: its own model, optimizer and batches."""

    def __init__(self, num: int, config: Config, system: System) -> None:
        self.num, self.system, self.times = num, system, Times()
        torch.manual_seed(0)
        self.model = GPT(gpt_config(config, len(system.dialect.vocab)))
        self.optimizer = build_optimizer(self.model, self.model.blocks, config.optim, fused=True)
        options = {"rows_per_batch": rows_per_batch(config), "block": config.data.block, "prompt_loss": False}
        self.batches: Iterator = iter(PackedLoader(build_source(config, system), Budget("tokens", 10**12), **options))
        self.grad_clip = config.optim.grad_clip
        self.digest = hashlib.sha256()

    def turn(self, problems: np.ndarray, prompts: list[np.ndarray]) -> None:
        """Take a step, roll out and judge."""
        set_num_threads(self.num)
        batch = next(self.batches)

        def step() -> bytes:
            loss, losses_BT = packed_loss(self.model, batch)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), self.grad_clip)
            self.optimizer.step()
            return losses_BT.detach().numpy().tobytes()

        def roll_out() -> bytes:
            self.rollouts = rollout(self.model, prompts, max_tokens=96, temperature=1.0)
            return b"".join(r.tokens.tobytes() + r.logprobs.tobytes() for r in self.rollouts)

        self.digest.update(timed("training", step, self.times))
        self.digest.update(timed("rollouts", roll_out, self.times))
        self.digest.update(
            timed("judging", lambda: judge(self.system, problems, self.rollouts).errors.tobytes(), self.times)
        )

    def weights(self) -> bytes:
        return b"".join(parameter.detach().numpy().tobytes() for parameter in self.model.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = to_object(compose("config", overrides=arguments.overrides))
    system = build_system(config)
    problems = split_problems(system, "val", PROBLEMS)
    prompts = [np.array(encode_prompt(system.dialect, problem), np.int32) for problem in problems]
    sides = [Side(int(num), config, system) for num in arguments.threads.split(",")]
    for _ in range(arguments.turns + WARM):
        for side in sides:
            side.turn(problems, prompts)
    first = sides[0]
    for what in first.times:
        for side in sides:
            clock, busiest = zip(*side.times[what][WARM:], strict=True)
            of_first = list(zip(*first.times[what][WARM:], strict=True))
            ratios = [
                statistics.median(old) / max(1e-9, statistics.median(new))
                for old, new in zip(of_first, (clock, busiest), strict=True)
            ]
            print(
                f"{what:9} {side.num:3} threads: {1e3 * statistics.median(clock):8.1f} ms, ratio {ratios[0]:.2f}; busiest "
                f"thread {1e3 * statistics.median(busiest):8.1f} ms, ratio {ratios[1]:.2f}"
            )
    same = all(side.weights() == first.weights() and side.digest.digest() == first.digest.digest() for side in sides)
    print(f"losses, weights, rollouts and verdicts equal to the bit: {same}")


if __name__ == "__main__":
    main()
