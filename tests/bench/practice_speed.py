"""Rounds of practice: how long one takes and where its time goes, and the same round under TRL's GRPOTrainer.

Run `python tests/bench/practice_speed.py RUN [--rounds 6] [--problems 32] [--group 8] [--alone] [overrides]`; RUN is a
finished run, overrides are those of its task, as `experiment=practice`. The other side needs trl and the extra `export`,
`--alone` leaves it out.

Both sides begin with RUN's weights (TRL with what `sos export` makes of them), write `group` answers to each of
`problems` problems at temperature 1 in up to as many tokens, judge them with the same verifier and take one step of
AdamW, in float32 on one thread. Problems whose answers are all right or all wrong cost TRL a gradient, which we leave
out. A round's time is that of the process, so that other work on the machine weighs less; the first round of each side
warms it up and is left out. The share of a round that is neither rollout nor gradient is one of the clock's times.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import torch

from sos.commands.cli import call
from sos.train import practice, pretrain


class Timed(practice.LogRounds):
    """Notes when a round ends, and what of it was rollout and gradient."""

    ends: ClassVar[list[tuple[float, float]]] = []  # process time and the clock's
    parts: ClassVar[list[dict[str, float]]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if batch["ends_round"]:
            names = ("rollout", "verify", "rows")
            seconds = {name: self._metrics[f"seconds/{name}"] for name in names} | {"gradient": self._seconds}
            self.ends.append((time.process_time(), time.perf_counter()))
            self.parts.append(seconds)


def stage(run: Path, folder: Path, arguments: argparse.Namespace) -> list[float]:
    """Train a stage, print where the time of its rounds goes, and return the seconds of each but the first."""
    pretrain.LogRounds = Timed  # type: ignore[misc]
    words = [f"start={run.resolve()}", "improve=grpo", f"improve.problems={arguments.problems}"]
    words += [f"improve.group={arguments.group}", f"improve.rounds={arguments.rounds}", "trainer.num_threads=1"]
    words += ["trainer.probe_every=0", "eval.num_problems=8", "eval.pass_k=[]", f"hydra.run.dir={folder}/stage"]
    assert call("train", [*arguments.overrides, *words, "optim=adamw", "optim.lr=1e-4"]) == 0
    of_rounds = Timed.parts[1:]
    whole = Timed.ends[-1][1] - Timed.ends[0][1]
    told = {name: sum(parts[name] for parts in of_rounds) / whole for name in of_rounds[0]}
    rest = 1 - told["rollout"] - told["gradient"]
    shares = ", ".join(f"{name} {share:.1%}" for name, share in told.items())
    print(f"of {len(of_rounds)} rounds: {shares}; neither rollout nor gradient {rest:.1%}", flush=True)
    return [after[0] - before[0] for before, after in itertools.pairwise(Timed.ends)]


def other(run: Path, folder: Path, arguments: argparse.Namespace) -> list[float]:
    """Train with TRL's GRPOTrainer, and return the seconds of each step but the first."""
    import datasets
    import transformers
    import trl

    from sos.interop.rewards import Reward
    from sos.interop.tasks import Task

    assert call("export", [str(run), f"out={folder}/hf"]) == 0
    visits = 2 * arguments.problems * arguments.rounds
    assert call("generate", [*arguments.overrides, f"out={folder}/set", "kind=tokens", f"visits={visits}"]) == 0
    assert call("export", [f"{folder}/set", f"out={folder}/rows.jsonl", "columns=prompt"]) == 0
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    context = json.loads((folder / "hf" / "config.json").read_text())["max_position_embeddings"]
    ends: list[float] = []

    class Steps(transformers.TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.process_time())

    config = trl.GRPOConfig(
        str(folder / "grpo"),
        max_steps=arguments.rounds,
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
        num_generations=arguments.group,
        per_device_train_batch_size=arguments.problems * arguments.group,
        max_completion_length=context - max(len(row["prompt"].split()) for row in rows) - 1,
        gradient_checkpointing=False,
        learning_rate=1e-4,
        beta=0.0,
        temperature=1.0,
    )
    reward = Reward(task=Task.of_run(run))
    names = set(rows[0]) - {"completion", "text"}
    kept = datasets.Dataset.from_list([{name: row[name] for name in names} for row in rows])
    trainer = trl.GRPOTrainer(
        str(folder / "hf"), reward_funcs=[reward], args=config, train_dataset=kept, callbacks=[Steps()]
    )
    trainer.train()
    lengths = [entry["completions/mean_length"] for entry in trainer.state.log_history if "reward" in entry]
    paid = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    print(f"TRL: rewards {paid}, mean lengths {lengths}", flush=True)
    return [after - before for before, after in itertools.pairwise(ends)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--problems", type=int, default=32)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        ours = stage(arguments.run, Path(folder), arguments)
        print(f"a round: {statistics.median(ours):.2f} s ({', '.join(f'{s:.2f}' for s in ours)})", flush=True)
        if arguments.alone:
            return
        theirs = other(arguments.run, Path(folder), arguments)
        print(f"TRL: {statistics.median(theirs):.2f} s ({', '.join(f'{s:.2f}' for s in theirs)})")
        print(f"ratio {statistics.median(theirs) / statistics.median(ours):.1f}")


if __name__ == "__main__":
    main()
