"""Tests of practice: rounds, their rows and losses, whole runs, what stops them, and what goes on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from places import CONF, ROOT

from sos.compose import compose
from sos.config import Config, config_from_dict, config_hash, to_dict
from sos.errors import UserError
from sos.improve.loader import MOST_SKIPPED, Round, RoundCursor, RoundLoader
from sos.improve.losses import policy_loss
from sos.improve.objective import imitation, objective_of, policy_options
from sos.improve.rounds import Practice, Task, chosen_of, draw, logprobs, verified, weighted, write
from sos.improve.rows import Kept, minibatches
from sos.judge.rollouts import ERRORS
from sos.model.gpt import GPT
from sos.model.rollout import rollout
from sos.rng import stream_key
from sos.runs.checkpoint import load_checkpoint
from sos.runs.folder import RunFolder
from sos.runs.provenance import Origin
from sos.schema.improve import ImproveConfig
from sos.stream.codec import encode_prompt
from sos.train.lit import packed_loss
from sos.train.plan import Plan
from sos.train.pretrain import Interrupted, pretrain
from sos.train.stop import StopOnSignal

TASK = [
    "experiment=path_star",
    "env.num_arms=2",
    "env.arm_nodes=3",
    "env.min_arm_nodes=0",
    "env.num_labels=8",
    "stream.whole_max=9",
    "data.context=64",
    "trainer.log_every=1",
    "trainer.probe_every=0",
    "trainer.num_threads=1",
    "eval.num_problems=8",
    "eval.pass_k=[]",
    "eval.num_rollout_texts=0",
]
MODEL = ["model.num_layers=1", "model.width=32", "model.num_heads=2"]
BASE = [*MODEL, "data.train_tokens=150000", "data.block=256", "trainer.probe_every=0.5"]
SMALL = ["improve.problems=16", "improve.rounds=3", "trainer.checkpoint_every=1"]
STEPS = ["improve.epochs=2", "improve.minibatches=2"]
ALGORITHMS = sorted(path.stem for path in (CONF / "improve").glob("*.yaml") if path.stem != "none")


def train(folder: Path, *overrides: str) -> RunFolder:
    assert pretrain(compose([*TASK, *overrides]), folder, Origin("test")) is not None
    return RunFolder(folder)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    return load_checkpoint(run.checkpoint).state_dict


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    assert a.keys() == b.keys()
    assert len(a) > 5
    return all(torch.equal(a[name], b[name]) for name in a)


def points(folder: Path) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run whose model writes whole streams and guesses."""
    return train(tmp_path_factory.mktemp("base") / "run", *BASE)


@pytest.fixture(scope="module")
def plan(base: RunFolder) -> Plan:
    return Plan.of(compose([*TASK, f"start={base.path}", "improve=grpo", *SMALL]))


@pytest.fixture
def model(plan: Plan) -> GPT:
    return plan.reference().requires_grad_(True)


def task(plan: Plan, **changes: Any) -> Task:
    import contextlib

    options = replace(plan.config.improve, **changes)
    return Task(plan.system, options, plan.config.seed, 64, lambda device: contextlib.nullcontext())


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have SIGTERM arrive in a step."""
    plain = StopOnSignal.on_train_batch_end

    def choose(step: int) -> None:
        def stopped(self: StopOnSignal, trainer: Any, *arguments: Any) -> None:
            if trainer.global_step == step:
                self.received = 15
            plain(self, trainer, *arguments)

        monkeypatch.setattr(StopOnSignal, "on_train_batch_end", stopped)

    return choose


# --- rows ---


def random_kept(seed: int, num: int, context: int, vocab: int) -> Kept:
    rng = np.random.default_rng(seed)
    prompts = rng.integers(1, 9, num)
    lengths = prompts + rng.integers(1, context - 9, num)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    total = int(offsets[-1])
    old, ref = (-rng.random(total).astype(np.float32) for _ in range(2))
    return Kept(rng.integers(1, vocab, total), offsets, prompts, rng.normal(size=num).astype(np.float32), old, ref)


def test_every_written_token_is_learned_once_and_what_is_known_of_it_stands_beside_it() -> None:
    """Against a walk over all rollouts, each found by its own tokens."""
    seen = 0
    for seed in range(30):
        kept, num = random_kept(seed, 5 + seed % 7, 40, 60_000), 1 + seed % 3
        found = []
        for batch in minibatches(kept, num, 40, np.uint64(seed)):
            tokens, targets = batch["tokens"].flatten(), batch["targets"].flatten()
            assert int(batch["mask"].sum()) == batch["num_targets"] == int((targets >= 0).sum())
            for s in range(len(batch["mask"])):
                mask = batch["mask"][s]
                places = batch["places"][s][mask]
                assert torch.equal(places, torch.arange(len(places)) + places[0])
                weight = batch["sequence_weights"][s]
                assert bool((batch["weights"].flatten()[places] == weight).all())
                found.append((int(tokens[places[0]]), targets[places].tolist(), float(weight), batch["old"][s][mask]))
        expected = []
        for k, prompt in enumerate(kept.prompts):
            start, stop = kept.offsets[k], kept.offsets[k + 1]
            written = slice(start + prompt, stop)
            old = torch.from_numpy(kept.old[written])
            row = (int(kept.tokens[start + prompt - 1]), kept.tokens[written].tolist(), float(kept.weights[k]), old)
            expected.append(row)
        assert len(found) == len(expected)
        for row in expected:
            same = [other for other in found if other[:3] == row[:3]]
            assert len(same) == 1
            assert torch.equal(same[0][3], row[3])
            seen += 1
    assert seen > 200


def test_weights_of_one_train_as_pretraining_does_to_the_bit(plan: Plan, model: GPT) -> None:
    compared = 0
    for seed in range(4):
        kept = random_kept(seed, 12, 64, plan.gpt.vocab_size)._replace(weights=np.ones(12, np.float32))
        for batch in minibatches(kept, 2, 64, np.uint64(seed)):
            found = []
            for loss in (packed_loss(model, batch)[0], imitation(model, batch)[0]):
                model.zero_grad()
                loss.backward()
                found.append((loss.detach(), [p.grad.clone() for p in model.parameters()]))
            assert torch.equal(found[0][0], found[1][0])
            assert all(torch.equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))
            compared += 1
    assert compared == 8


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "constant"])
def test_the_loss_of_packed_rollouts_is_that_of_each_one_alone(plan: Plan, model: GPT, aggregation: str) -> None:
    options = policy_options(replace(plan.config.improve, aggregation=aggregation, kl_weight=0.1), 64)
    kept = random_kept(3, 9, 64, plan.gpt.vocab_size)
    (batch,) = minibatches(kept, 1, 64, np.uint64(5))
    objective = objective_of(replace(plan.config.improve, aggregation=aggregation, kl_weight=0.1), 64)
    loss, _, found = objective(model, batch)
    loss.backward()
    packed = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    width = int((np.diff(kept.offsets) - kept.prompts).max())
    new, old, ref = (torch.zeros(9, width) for _ in range(3))
    mask = torch.zeros(9, width, dtype=torch.bool)
    for k, prompt in enumerate(kept.prompts):
        start, stop = kept.offsets[k], kept.offsets[k + 1]
        tokens, num = torch.from_numpy(kept.tokens[start:stop].astype(np.int64)), stop - start - prompt
        logits = model(tokens[None, :-1])[0, prompt - 1 :]
        new[k, :num] = logits.log_softmax(-1).gather(1, tokens[prompt:, None])[:, 0]
        old[k, :num], ref[k, :num] = (torch.from_numpy(c[start + prompt : stop]) for c in (kept.old, kept.ref))
        mask[k, :num] = True
    expected, metrics = policy_loss(new, old, torch.from_numpy(kept.weights), mask, options=options, ref_BT=ref)
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    assert float(found["clip"]) == pytest.approx(float(metrics["clip"]), abs=1e-6)
    assert float(found["clip"]) > 0
    for gradient, parameter in zip(packed, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-5)


# --- rounds ---


def test_a_round_is_a_function_of_the_seed_its_number_and_the_weights(plan: Plan, model: GPT) -> None:
    practice = Practice(task(plan, drop_equal=False), model)
    first, again, other = practice.make(2), practice.make(2), practice.make(3)
    assert len(first.batches[0]) == 1
    for name, tensor in first.batches[0][0].items():
        assert torch.equal(torch.as_tensor(tensor), torch.as_tensor(again.batches[0][0][name])), name
    assert not torch.equal(first.batches[0][0]["tokens"], other.batches[0][0]["tokens"])
    problems = [draw(task(plan)._replace(seed=seed), number) for seed in (1, 2) for number in (0, 1)]
    assert len({p.tobytes() for p in problems}) == 4
    whole = draw(task(plan, problems=32), 0)
    assert np.array_equal(whole, np.concatenate(problems[:2]))


def test_problems_are_of_the_training_split(plan: Plan) -> None:
    from sos.data.splits import in_val

    drawn = draw(task(plan, problems=300), 0)
    assert not any(in_val(plan.system.env, plan.system.splits, problem) for problem in drawn)
    assert len(drawn) == 300


def test_rollouts_keep_the_log_probabilities_that_training_sees(plan: Plan, model: GPT) -> None:
    """At temperature 1. At another one they are of the tempered policy, and the model is asked again."""
    prompts = [np.array(encode_prompt(plan.system.dialect, p), np.int32) for p in draw(task(plan), 0)]
    checked = 0
    for temperature in (1.0, 0.7):
        answers = rollout(model, prompts, max_tokens=64, temperature=temperature, seed=3)
        offsets = np.concatenate([[0], np.cumsum([len(answer.tokens) for answer in answers])])
        kept = Kept(
            np.concatenate([answer.tokens for answer in answers]),
            offsets,
            np.array([answer.num_prompt for answer in answers]),
            np.ones(len(answers), np.float32),
        )
        seen, written = logprobs(model, kept, 64), [answer.logprobs for answer in answers]
        gap = max(
            float(np.abs(seen[offsets[k] + a.num_prompt : offsets[k + 1]] - written[k]).max())
            for k, a in enumerate(answers)
        )
        assert gap < 1e-4 if temperature == 1 else gap > 1e-2
        with torch.no_grad():
            for k, answer in enumerate(answers):
                tokens = torch.from_numpy(answer.tokens.astype(np.int64))
                scores = model(tokens[None, :-1])[0, answer.num_prompt - 1 :].log_softmax(-1)
                expected = scores.gather(1, tokens[answer.num_prompt :, None])[:, 0].numpy()
                got = seen[offsets[k] + answer.num_prompt : offsets[k + 1]]
                np.testing.assert_allclose(got, expected, atol=1e-4)
                checked += len(got)
    assert checked > 100


def test_advantages_are_of_the_group_and_ones_without_variance_are_left_out(plan: Plan, model: GPT) -> None:
    chosen = task(plan, problems=32)
    problems = draw(chosen, 0)
    experience = verified(chosen, problems, write(chosen, model, problems, 0), 0)
    kept = weighted(experience.select(chosen_of(experience, chosen.options, np.uint64(0))), chosen.options)
    advantages = kept.weights.reshape(-1, 8)
    assert 0 < len(advantages) < 32
    assert (np.abs(advantages) > 0.1).all()
    np.testing.assert_allclose(advantages.sum(1), 0, atol=1e-4)
    mixed = [row for row in experience.rewards.reshape(-1, 8) if 0 < row.sum() < 8]
    assert np.array_equal(np.array(mixed) > 0, advantages > 0)
    made = Practice(chosen, model).make(0)
    assert made.metrics["kept"] == len(advantages) / 32
    equal_groups = made.metrics["zero_variance/all_right"] + made.metrics["zero_variance/all_wrong"]
    assert equal_groups == pytest.approx(1 - len(advantages) / 32)
    assert made.metrics["entropy"] > 0
    assert made.rollouts == 256


def test_old_log_probabilities_are_there_where_a_round_has_several_steps(plan: Plan, model: GPT) -> None:
    for changes, there in (({}, False), ({"epochs": 2}, True), ({"epochs": 2, "temperature": 0.7}, True)):
        options = task(plan, drop_equal=False, **changes)
        batch = Practice(options, model).make(0).batches[0][0]
        assert ("old" in batch) == there
        if there:  # the first step's ratio is that of a policy with itself
            _, _, found = objective_of(options.options, 64)(model, batch)
            assert float(found["ratio_max"]) == pytest.approx(1, abs=1e-3)
    batch = Practice(task(plan, kl_weight=0.1, drop_equal=False), model, plan.reference()).make(0).batches[0][0]
    _, _, found = objective_of(replace(plan.config.improve, kl_weight=0.1), 64)(model, batch)
    assert float(found["kl_start"]) == pytest.approx(0, abs=1e-5)


def test_resampling_keeps_half_and_advantages_are_over_what_is_kept(plan: Plan, model: GPT) -> None:
    practice = Practice(task(plan, problems=32, group=16, selection="roc_inverse", keep=8), model)
    (batch,) = practice.make(0).batches[0]
    assert len(batch["mask"]) % 8 == 0
    assert len(batch["mask"]) > 0


# --- the loader ---


class Fake:
    """Rounds that are made of nothing; those of `empty` leave nothing."""

    def __init__(self, options: ImproveConfig, empty: set[int]) -> None:
        self.options, self.empty, self.made = options, empty, []

    def make(self, number: int) -> Round:
        self.made.append(number)
        batch = {"doc_ids": torch.tensor([[0, 0, 1, -1]]), "positions": torch.tensor([[0, 1, 0, 0]])}
        options = self.options
        batches = [[dict(batch) for _ in range(options.minibatches)] for _ in range(options.epochs)]
        skipped = number in self.empty
        num = options.problems * options.group
        return Round([] if skipped else batches, {"reward": 1.0}, num, 5, 0.1, 0.1, "none was right" if skipped else "")


def options_of(**changes: Any) -> ImproveConfig:
    return replace(ImproveConfig(loss="clip", rounds=4, problems=2, group=4), **changes)


def test_rounds_of_which_nothing_is_left_are_counted_and_made_up_for() -> None:
    fake = Fake(options_of(epochs=2, minibatches=3), empty={0, 1, 3})
    loader = RoundLoader(fake, RoundCursor())
    batches = list(loader)
    assert len(batches) == len(loader) == 24
    assert fake.made == [0, 1, 2, 3, 4, 5, 6]
    ends = [batch for batch in batches if batch["ends_round"]]
    cursors = [RoundCursor(**batch["cursor"]) for batch in ends]
    assert [cursor.round for cursor in cursors] == [3, 5, 6, 7]
    assert [cursor.complaint(fake.options) for cursor in (RoundCursor(), *cursors)] == [None] * 5
    assert (cursors[-1].skipped, cursors[-1].tokens, cursors[-1].rollouts) == (3, 72, 56)
    assert [batch["progress"] for batch in batches] == pytest.approx(np.arange(24) / 24)
    assert sum(bool(batch["metrics"]) for batch in batches) == 4
    for k, cursor in enumerate(cursors[:-1]):  # a run goes on behind any round
        rest = list(RoundLoader(Fake(fake.options, fake.empty), cursor))
        for a, b in zip(rest, batches[6 * (k + 1) :], strict=True):
            counts = [{n: v for n, v in x["cursor"].items() if not n.endswith("seconds")} for x in (a, b)]
            assert counts[0] == counts[1]


def test_a_run_ends_where_nothing_is_left_of_fifty_rounds_in_a_row() -> None:
    fake = Fake(options_of(), empty=set(range(1, 60)))
    with pytest.raises(UserError, match=r"50 rounds in a row left nothing to learn from: none was right"):
        list(RoundLoader(fake, RoundCursor()))
    assert fake.made == list(range(1 + MOST_SKIPPED))


def test_cursors_that_no_run_can_have_are_complained_of() -> None:
    options = options_of()
    good = RoundCursor(3, 2, 1, 1, 6, 24, 15, 8, 4, 0.1, 0.1, 0.1)
    assert good.complaint(options) is None
    bad: list[tuple[str, Any]] = [
        (name, value) for name in asdict(good) for value in (-1, None, "1", float("nan"), True)
    ]
    bad += [("round", 4), ("trained", 1), ("problems", 7), ("rollouts", 25), ("streams", 25), ("skipped_last", 2)]
    assert len(bad) > 60
    for name, value in bad:
        assert replace(good, **{name: value}).complaint(options), (name, value)
    assert RoundCursor(5, 5, 0, 0, 10, 40).complaint(options)


# --- whole runs ---


def test_practice_leaves_a_run_behind_that_says_what_it_took(base: RunFolder, tmp_path: Path) -> None:
    run = train(tmp_path / "run", f"start={base.path}", "improve=grpo", *SMALL, *STEPS, "improve.kl_weight=0.01")
    metrics = read(run.metrics)
    assert metrics["train"]["rounds"] == 3
    assert metrics["train"]["rollouts"] == metrics["train"]["problems"] * 8 >= 3 * 128
    assert metrics["train"]["steps"] == 12
    assert metrics["train"]["tokens"] > 0
    assert metrics["train"]["rollout_tokens"] > 0
    assert metrics["train"]["rollout_seconds"] < metrics["train"]["data_seconds"]
    assert metrics["config"]["model"]["width"] == 32
    assert not equal(weights(base), weights(run))
    tags = points(run.path)
    for tag in ("reward", "zero_variance/all_right", "kept", "kl_start", "clip", "entropy", "seconds/gradient"):
        assert sorted(tags[f"improve/{tag}"]) == [4, 8, 12], tag
    assert len(tags["loss/all"]) == 12
    assert not any(tag.startswith("improve/") for tag in points(base.path))
    page = (ROOT / "docs" / "improve.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+)`", page)) | {f"error_right/{error.name.lower()}" for error in ERRORS}
    assert {tag.removeprefix("improve/") for tag in tags if tag.startswith("improve/")} <= named
    shared = set(read(base.metrics)["train"])
    assert set(metrics["train"]) - shared - named == set()
    assert len(set(metrics["train"]) - shared) > 5


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_runs(base: RunFolder, tmp_path: Path, algorithm: str) -> None:
    words = ["improve.rounds=1", "improve.problems=32", "improve.minibatches=2", "improve.epochs=1"]
    words += ["improve.group=8"] if algorithm == "star" else []
    run = train(tmp_path / "run", f"start={base.path}", f"improve={algorithm}", *words)
    assert read(run.metrics)["train"]["steps"] == 2
    assert not equal(weights(base), weights(run))


def test_a_stopped_run_goes_on_to_the_same_weights(
    base: RunFolder, tmp_path: Path, stop_at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in mid-round it finishes the round; killed in mid-round it does the round again, on other threads."""
    words = (f"start={base.path}", "improve=grpo", "optim.lr=0.01", *SMALL, *STEPS)
    stop_at(-1)
    whole = train(tmp_path / "whole", *words)
    stop_at(6)
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", *words)
    assert load_checkpoint(RunFolder(tmp_path / "stopped").checkpoint).train["steps"] == 8
    stop_at(-1)
    plain = StopOnSignal.on_train_batch_end

    def killed(self: StopOnSignal, trainer: Any, *arguments: Any) -> None:
        if trainer.global_step == 10:
            raise RuntimeError("killed")
        plain(self, trainer, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(StopOnSignal, "on_train_batch_end", killed)
        with pytest.raises(RuntimeError, match="killed"):
            train(tmp_path / "stopped", *words)
    assert load_checkpoint(RunFolder(tmp_path / "stopped").checkpoint).train["steps"] == 8
    gone_on = train(tmp_path / "stopped", *words, "trainer.num_threads=2")
    assert equal(weights(whole), weights(gone_on))
    counts = [
        {k: v for k, v in read(run.metrics)["train"].items() if k in ("tokens", "rollouts", "rollout_tokens", "steps")}
        for run in (whole, gone_on)
    ]
    assert counts[0] == counts[1]
    assert read(whole.metrics)["metrics"] == read(gone_on.metrics)["metrics"]


def test_a_finished_stage_is_evaluated_again_and_is_the_start_of_another(base: RunFolder, tmp_path: Path) -> None:
    words = ("improve=expert_iteration", "improve.problems=32", "improve.rounds=1", "improve.minibatches=2")
    first = train(tmp_path / "first", f"start={base.path}", *words)
    old, whole = weights(first), torch.load(first.checkpoint, weights_only=True)
    torch.save({name: value for name, value in whole.items() if name != "PracticeData"}, tmp_path / "less.ckpt")
    with pytest.raises(UserError, match=r"less\.ckpt cannot be continued: PracticeData"):
        train(tmp_path / "less", f"start={base.path}", *words, f"resume={tmp_path / 'less.ckpt'}")
    again = train(first.path, f"start={base.path}", *words, f"resume={first.path}", "eval.num_problems=4")
    assert equal(old, weights(again))
    assert read(again.metrics)["metrics"]["solve/val"]["num"] == 4
    second = train(tmp_path / "second", f"start={first.path}", "improve=star", "improve.problems=32", "improve.group=8",
                   "improve.rounds=2", "improve.minibatches=2", "improve.epochs=1")  # fmt: skip
    assert not equal(weights(first), weights(second))


def test_star_trains_the_weights_of_the_start_in_every_round(
    base: RunFolder, tmp_path: Path, stop_at: Callable[[int], None]
) -> None:
    """The last round alone decides: the optimizer, too, is new in it. And such a run goes on to the same weights."""
    words = [f"start={base.path}", "improve=star", "improve.problems=32", "improve.group=8", "improve.rounds=2"]
    words += ["improve.minibatches=2", "improve.epochs=1", "trainer.checkpoint_every=1"]
    words += ["optim.schedule=constant", "optim.warmup=0"]
    stop_at(2)
    with pytest.raises(Interrupted):
        train(tmp_path / "run", *words)
    stop_at(-1)
    run = train(tmp_path / "run", *words)
    whole = train(tmp_path / "whole", *words)
    assert equal(weights(run), weights(whole))
    plan = Plan.of(compose([*TASK, *words]))
    lit = plan.model()
    lit.model.load_state_dict(weights(train(tmp_path / "one", *words, "improve.rounds=1")))
    made = Practice(task(plan), lit.model).make(1)
    lit.model.load_state_dict(weights(base))
    optimizer = lit.configure_optimizers()
    for batch in made.batches[0]:
        for group in optimizer.param_groups:
            group["lr"] = plan.config.optim.lr
        optimizer.zero_grad()
        imitation(lit.model, batch)[0].backward()
        torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 1.0)
        optimizer.step()
    expected = lit.model.state_dict()
    for name, tensor in weights(run).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5)


def test_pretraining_goes_on_from_other_weights(base: RunFolder, tmp_path: Path) -> None:
    """`start` without `improve` is another stage of pretraining."""
    run = train(tmp_path / "run", f"start={base.path}", "data.train_tokens=4000", "seed=2")
    assert not equal(weights(base), weights(run))
    change = max(float((a - b).abs().max()) for a, b in zip(weights(base).values(), weights(run).values(), strict=True))
    assert change < 0.5


# --- what is refused ---

REFUSED = [
    ("start=/nonexistent", "start=/nonexistent: no checkpoint there"),
    ("start={damaged}", "damaged or cut short"),
    ("start={base} env.num_labels=9", "trained with env.num_labels=8, this run has env.num_labels=9"),
    ("start={base} data.context=80", "trained with data.context=64, this run has data.context=80"),
    ("start={base} data.val_fraction=0.2", "data.val_fraction=0.1, this run has data.val_fraction=0.2"),
    ("start={base} stream.whole_max=12", "has another vocabulary"),
    ("start={base} stream.dialect=checked", "has another vocabulary|another version of the dialect"),
    ("start={base} trainer.precision=bf16-true", "trainer.precision=bf16-true: the weights of start="),
    ("start={base} trainer.devices=2 trainer.strategy=ddp", "needs one process"),
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


# --- identity ---


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
    from sos.schema import improve

    assert set(improve.POLICY_LOSSES) <= set(losses_options.KINDS)
    assert set(improve.SELECTIONS) <= set(selections_options.KINDS)
    assert set(improve.KEEPING) == set(selections_options.BY_NUM)
    options = policy_options(options_of(clip_high=0.3, aggregation="constant"), 64)
    assert (options.kind, options.clip_high, options.aggregation, options.max_tokens) == ("clip", 0.3, "constant", 64)
    assert stream_key(1, "practice") != stream_key(1, "train")
