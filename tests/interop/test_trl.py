"""TRL's trainers on CPU with our rewards and our columns (skipped without trl)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sos.commands.cli import call
from sos.interop.rewards import Reward
from sos.interop.tasks import Task
from sos.runs.checkpoint import load_checkpoint
from sos.runs.folder import RunFolder
from sos.stream.dialect.vocab import BOS, EOS

pytestmark = pytest.mark.slow


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Path, Path, list[dict[str, Any]]]:
    """A run of a few steps exported as a model, and a data set of its problems with prompts and completions."""
    run, folder = tmp_path / "run", tmp_path / "set"
    made = [
        "experiment=smoke",
        "data.train_tokens=6000",
        "trainer.probe_every=0",
        "eval.pass_k=[]",
        "eval.num_problems=8",
    ]
    assert call("train", [*made, f"hydra.run.dir={run}"]) == 0
    assert call("export", [str(run), f"out={tmp_path}/hf"]) == 0
    assert call("generate", ["experiment=smoke", f"out={folder}", "kind=tokens", "visits=24"]) == 0
    assert call("export", [str(folder), f"out={tmp_path}/rows.jsonl", "columns=prompt"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    return run, tmp_path / "hf", rows


def test_sft_trainer_learns_the_completions(tiny: tuple[Path, Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    run, model, rows = tiny
    kept = datasets.Dataset.from_list([{"prompt": row["prompt"], "completion": row["completion"]} for row in rows])
    config = trl.SFTConfig(
        str(tmp_path / "sft"),
        max_steps=3,
        use_cpu=True,
        report_to=[],
        per_device_train_batch_size=4,
        logging_steps=1,
        bf16=False,
    )
    trainer = trl.SFTTrainer(str(model), args=config, train_dataset=kept)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 3
    assert losses[-1] < 10
    batch = next(iter(trainer.get_train_dataloader()))
    masked = (batch["labels"] == -100).any(1)
    assert masked.all(), "the prompt is no part of the loss"
    first = batch["input_ids"][0][batch["attention_mask"][0] > 0].tolist()
    assert (first[0], first[-1], first.count(BOS)) == (BOS, EOS, 1), "a row is a whole stream"
    trainer.save_model(str(tmp_path / "tuned"))
    assert call("import", [str(tmp_path / "tuned"), f"out={tmp_path}/back"]) == 0
    before, after = (load_checkpoint(RunFolder(place).checkpoint) for place in (run, tmp_path / "back"))
    assert after.config["env"] == before.config["env"]
    assert not torch.equal(before.state_dict["embed.weight"], after.state_dict["embed.weight"])
    assert call("evaluate", [str(tmp_path / "back"), "eval.num_problems=4", "eval.pass_k=[]"]) == 0


def test_twenty_steps_and_the_way_back_are_one_table(
    tiny: tuple[Path, Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """As docs/transformers.md has it: export, twenty steps of SFT, import, evaluate, compare."""
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    run, model, rows = tiny
    kept = datasets.Dataset.from_list([{k: row[k] for k in ("prompt", "completion")} for row in rows])
    options: dict[str, Any] = {"max_steps": 20, "per_device_train_batch_size": 8, "learning_rate": 3e-3}
    options |= {"logging_steps": 1, "use_cpu": True, "bf16": False, "report_to": [], "save_strategy": "no"}
    trainer = trl.SFTTrainer(str(model), args=trl.SFTConfig(str(tmp_path / "sft"), **options), train_dataset=kept)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 20
    assert sum(losses[-4:]) < 0.95 * sum(losses[:4])
    trainer.save_model(str(tmp_path / "tuned"))
    assert call("import", [str(tmp_path / "tuned"), f"out={tmp_path}/back"]) == 0
    for folder in (run, tmp_path / "back"):
        assert call("evaluate", [str(folder), "eval.num_problems=8", "eval.pass_k=[]"]) == 0
    arms = [f"before={run}/evaluation", f"after={tmp_path}/back/evaluation"]
    assert call("compare", [*arms, f"out={tmp_path}/table"]) == 0
    table = (tmp_path / "table" / "comparison.md").read_text()
    assert [f"| {arm} " in table for arm in ("before", "after")] == [True, True]


@pytest.mark.parametrize("free", [False, True])
def test_grpo_trainer_pays_our_rewards(
    tiny: tuple[Path, Path, list[dict[str, Any]]], tmp_path: Path, free: bool
) -> None:
    """Streams are judged by the run's own dialect; and texts as free answers, which a model of streams never gives."""
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    run, model, rows = tiny
    reward = Reward() if free else Reward(task=Task.of_run(run))
    paid: list[float] = []

    def counted(**columns: Any) -> list[float]:
        values = reward(**columns)
        paid.extend(values)
        return values

    kept = datasets.Dataset.from_list([{k: row[k] for k in ("prompt", "nums", "target")} for row in rows])
    config = trl.GRPOConfig(
        str(tmp_path / "grpo"),
        max_steps=2,
        use_cpu=True,
        bf16=False,
        report_to=[],
        num_generations=4,
        per_device_train_batch_size=8,
        max_completion_length=48,
        logging_steps=1,
    )
    trainer = trl.GRPOTrainer(str(model), reward_funcs=[reward, counted], args=config, train_dataset=kept)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "rewards/sos_sos/mean" in entry]
    assert len(logged) == 2
    assert len(paid) == 16
    assert set(paid) <= {0.0, 1.0}
