"""Rounds of practice: their rows and losses, what is drawn, written and kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from stages import random_kept, task

from sos.improve.losses import policy_loss
from sos.improve.objective import imitation, objective_of, policy_options
from sos.improve.rounds import Practice, chosen_of, draw, verified, weighted, write
from sos.improve.rows import Kept, minibatches
from sos.improve.values import logprobs
from sos.model.gpt import GPT
from sos.model.rollout import rollout
from sos.stream.codec import encode_prompt
from sos.stream.verify import Error
from sos.train.lit import packed_loss
from sos.train.plan import Plan


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


def test_mistakes_alone_bear_what_a_wrong_answer_costs(plan: Plan, model: GPT) -> None:
    chosen = task(plan, blame="mistakes", problems=24, group=4)
    experience = verified(chosen, draw(chosen, 1), write(chosen, model, draw(chosen, 1), 1), 1)
    usual, kept = weighted(experience, task(plan, problems=24, group=4).options), weighted(experience, chosen.options)
    assert usual.advantages is None
    assert kept.advantages is not None
    counts = {"right": 0, "blamed": 0, "spared": 0}
    for i, weight in enumerate(usual.weights):
        for t in range(int(experience.offsets[i]), int(experience.offsets[i + 1])):
            if weight > 0:
                assert kept.advantages[t] == weight
                counts["right"] += 1
            elif experience.token_errors[t] not in (Error.NONE, Error.FALSE_GOAL):
                assert kept.advantages[t] == weight
                counts["blamed"] += weight < 0
            else:
                assert kept.advantages[t] == 0
                counts["spared"] += weight < 0
    assert min(counts.values()) >= 50
    batches = Practice(chosen, model).make(1).batches
    assert batches[0][0]["advantages"].shape == batches[0][0]["mask"].shape


def test_a_penalty_takes_the_share_of_wrong_operations_off(plan: Plan, model: GPT) -> None:
    """And problems whose answers are all wrong stay ones without variance."""
    plain, shaped = task(plan, problems=32), task(plan, problems=32, penalty=0.5)
    problems = draw(plain, 0)
    answers = write(plain, model, problems, 0)
    before, after = (verified(chosen, problems, answers, 0) for chosen in (plain, shaped))
    np.testing.assert_allclose(after.rewards, before.rewards - 0.5 * before.error_penalties)
    assert (after.rewards != before.rewards).any()
    assert np.array_equal(after.rewards > 0, before.rewards > 0)
    key = np.uint64(0)
    assert np.array_equal(chosen_of(after, shaped.options, key), chosen_of(before, plain.options, key))
    everything = task(plan, problems=32, penalty=0.5, drop_equal=False).options
    weights = weighted(after, everything).weights.reshape(-1, 8)
    assert not weights[~(before.rewards.reshape(-1, 8) > 0).any(1)].any()


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
