"""What stages of practice are refused for, and what makes two of them the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stages import SMALL, TASK, options_of, train

from sos.compose import compose
from sos.config import Config, config_from_dict, config_hash, to_dict
from sos.errors import UserError
from sos.improve.objective import distillation_options, policy_options
from sos.rng import stream_key
from sos.runs.folder import RunFolder
from sos.schema.improve import ImproveConfig
from sos.train.plan import Plan

REFUSED = [
    ("start=/nonexistent", "start=/nonexistent: no checkpoint there"),
    ("start={damaged}", "damaged or cut short"),
    ("start={base} env.num_labels=9", "trained with env.num_labels=8, this run has env.num_labels=9"),
    ("start={base} data.context=80", "trained with data.context=64, this run has data.context=80"),
    ("start={base} data.val_fraction=0.2", "data.val_fraction=0.1, this run has data.val_fraction=0.2"),
    ("start={base} stream.whole_max=12", "has another vocabulary"),
    ("start={base} stream.dialect=checked", "has another vocabulary|another version of the dialect"),
    ("start={base} trainer.precision=bf16-true", "trainer.precision=bf16-true: the weights of start="),
    ("start={base} trainer.devices=2 trainer.strategy=fsdp", "improve.loss=clip needs the whole model in each process"),
    (
        "start={base} improve=second_attempts trainer.devices=2",
        "improve.second=rule needs one process, trainer.devices=2",
    ),
    ("start={base} improve.reward=sos_legacy", "improve.reward=sos_legacy is the published metric of countdown"),
]
REFUSED_AT_ONCE = [
    ("improve=grpo", "improve.loss=clip needs start=RUN"),
    ("start={base} improve=grpo improve.group=1", "improve.group=1, of which 1 is kept: .* two at least"),
    ("start={base} improve=grpo_roc improve.keep=1", "improve.group=16, of which 1 is kept"),
    ("start={base} improve=grpo_roc improve.keep=17", "improve.keep=17 is more than improve.group=16"),
    ("start={base} improve=expert_iteration improve.selection=all", "learns mistakes"),
    ("start={base} improve=expert_iteration improve.clip_low=0.1", "improve.clip_low=0.1 has no use with improve.loss"),
    ("start={base} improve=grpo data.train_tokens=5", "data.train_tokens=5 has no use with improve.loss=clip"),
    ("start={base} improve=grpo improve.keep=4", "improve.keep=4 has no use with improve.selection=all"),
    ("start={base} model.width=32", "model.width=32 has no use with start=.*: the model keeps the shape of its start"),
    ("start={base} improve=grpo trainer.batch_tokens=2048", "trainer.batch_tokens=2048 has no use with improve.loss"),
    ("improve.rounds=5", "improve.rounds=5 has no use with improve.loss=none"),
    ("start={base} improve=apa improve.kl_weight=0 improve.kl_target=null", "improve.plateau=10 has no use without"),
    ("start={base} improve=apa improve.kl_weight=0", "improve.kl_target=0.1 needs improve.kl_weight"),
    ("start={base} improve=apa improve.clip_low=0.1", "improve.clip_low=0.1 has no use with improve.loss=apa"),
    ("start={base} improve=grpo improve.penalty=1", "improve.penalty must be below 1"),
    ("start={base} improve=grpo improve.classes=[hard]", "improve.classes must name any of easy, medium"),
    ("start={base} improve=grpo improve.pool=9", "improve.pool=9 has no use without improve.classes or improve.gate"),
    ("start={base} improve=grpo improve.easy_share=0.5", "improve.easy_share=0.5 needs improve.classes"),
    ("start={base} improve=grpo improve.value=network", "improve.value=network has no use with improve.loss=clip"),
    ("start={base} improve=grpo improve.most_nodes=9", "improve.most_nodes=9 has no use with improve.reward=exact"),
    ("start_sha256=abc", "start_sha256=abc needs start"),
]


def test_what_cannot_work_is_one_line_before_anything_is_written(base: RunFolder, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.ckpt"
    damaged.write_bytes(base.checkpoint.read_bytes()[:5000])
    for words, complaint in [*REFUSED, *REFUSED_AT_ONCE]:
        overrides = words.format(base=base.path, damaged=damaged).split()
        if not any(word.startswith("improve") for word in overrides) or "improve.reward" in words:
            overrides.append("improve=grpo" if "start=" in words else "improve=none")
        with pytest.raises(UserError, match=complaint) as told:
            train(tmp_path / "new", *overrides)
        assert "\n" not in str(told.value)
        assert not (tmp_path / "new").exists(), words


def test_a_start_that_changed_is_refused(base: RunFolder, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(base.path, tmp_path / "copied"))
    config = compose([*TASK, f"start={copied}", "improve=grpo", *SMALL])
    assert config.start_sha256 == compose([*TASK, f"start={base.path}"]).start_sha256
    content = torch.load(RunFolder(copied).checkpoint, weights_only=True)
    content["global_step"] += 1
    torch.save(content, RunFolder(copied).checkpoint)
    with pytest.raises(UserError, match="is another checkpoint than the one with which the run began"):
        Plan.of(config)


def test_runs_without_practice_are_what_they_were() -> None:
    """A config of before there was any has the same hash, and is read as one without."""
    plain = to_dict(compose([]))
    old = {key: value for key, value in plain.items() if key not in ("start", "start_sha256", "improve")}
    assert config_hash(old) == config_hash(plain) == config_hash(Config())
    assert config_from_dict(old) == compose([])


def test_the_start_decides_a_run_and_its_path_does_not(base: RunFolder, tmp_path: Path) -> None:
    copied = shutil.copytree(base.path, tmp_path / "copied")
    words = [*TASK, "improve=grpo", *SMALL]
    config, other = (compose([*words, f"start={path}"]) for path in (base.path, copied))
    assert config_hash(config) == config_hash(other)
    assert config_hash(config) != config_hash(replace(config, start_sha256="0" * 64))
    assert config_hash(config) != config_hash(replace(config, improve=replace(config.improve, group=9)))
    assert config_hash(config) != config_hash(replace(config, start=None, start_sha256=None, improve=ImproveConfig()))
    assert Plan.of(config).identity.config_hash == config_hash(config)
    found = Plan.of(config).config
    assert (found.model.width, config.model.width) == (32, 96)  # that of the start, and of the experiment
    assert config_hash(found) == config_hash(config)
    assert Plan.of(compose([*words, f"start={base.path}", "model.kernels=torch"])).gpt.kernels == "torch"


def test_keys_of_one_name_are_those_of_the_parts() -> None:
    from sos.improve import losses_options, selections_options
    from sos.schema import improve_words as improve

    assert set(improve.POLICY_LOSSES) <= set(losses_options.KINDS)
    assert set(improve.SELECTIONS) <= set(selections_options.KINDS)
    assert set(improve.KEEPING) == set(selections_options.BY_NUM)
    assert improve.CLASSES == selections_options.CLASSES
    options = policy_options(options_of(clip_high=0.3, aggregation="constant"), 64)
    assert (options.kind, options.clip_high, options.aggregation, options.max_tokens) == ("clip", 0.3, "constant", 64)
    # How long a rollout may be is not the constant that divides a loss.
    for aggregation in ("token_mean", "constant"):
        short = options_of(max_tokens=20, aggregation=aggregation)
        for loss in (policy_options(short, 64), distillation_options(replace(short, loss="distillation"), 64)):
            assert loss.max_tokens == (64 if aggregation == "constant" else None)
    assert stream_key(1, "practice") != stream_key(1, "train")
