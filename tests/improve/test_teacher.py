"""A teacher behind a context: its rows and losses against one rollout at a time, whole stages, what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stages import SLOT, SMALL, TASK, equal, points, random_kept, read, task, train, weights

from sos.compose import compose
from sos.context.draws import Asked
from sos.context.forms import read_context
from sos.data.contexts import NOTHING, ContextSource
from sos.errors import UserError
from sos.improve import teacher as teachers
from sos.improve.objective import distillation_options, objective_of
from sos.improve.rounds import Practice, chosen_of, draw, verified, write
from sos.improve.rows import Kept, minibatches
from sos.improve.teacher import Teacher, behind_contexts, check_context, make_contexts
from sos.model.gpt import GPT
from sos.runs.folder import RunFolder
from sos.schema.improve import ImproveConfig
from sos.train.plan import Plan
from sos.train.pretrain import Interrupted

CONTEXT = 96
VOCAB = 40


@pytest.fixture(scope="module")
def hints(slotted: RunFolder) -> Plan:
    return Plan.of(compose([*TASK, *SLOT, f"start={slotted.path}", "improve=distill", *SMALL]))


@pytest.fixture
def student(hints: Plan) -> GPT:
    return hints.reference().requires_grad_(True)


def moved(model: GPT, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return weights beside those of a model."""
    rng = torch.Generator().manual_seed(seed)
    return {name: w + 0.05 * torch.randn(w.shape, generator=rng) for name, w in model.state_dict().items()}


def random_scored(seed: int, vocab: int, num: int = 9) -> tuple[Kept, list[np.ndarray], float]:
    """Return rollouts as a teacher reads them, their contexts, and what was cut: some contexts are empty, some are too
    long for the whole rollout."""
    rng = np.random.default_rng(seed)
    kept = random_kept(seed, num, 64, vocab)._replace(firsts=rng.integers(0, 9, num))
    sizes = rng.integers(0, CONTEXT - 10, num) * (rng.random(num) < 0.8)
    contexts = [rng.integers(1, vocab, size) for size in sizes]
    scored, cut = behind_contexts(kept, contexts, CONTEXT)
    return scored, contexts, cut


def naive_divergence(student: list[float], teacher: list[float], beta: float) -> float:
    """The generalized Jensen-Shannon divergence of two distributions, by its definition."""
    if beta in (0, 1):
        p, q = (teacher, student) if beta == 0 else (student, teacher)
        return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    found = 0.0
    for s, t in zip(student, teacher, strict=True):
        middle = (1 - beta) * s + beta * t
        found += beta * t * math.log(t / middle) + (1 - beta) * s * math.log(s / middle)
    return found


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_the_loss_of_packed_rollouts_is_that_of_each_one_alone(hints: Plan, student: GPT, beta: float) -> None:
    """Against a walk over all rollouts, with a full softmax in float64 for every written token; and its gradient."""
    vocab = hints.gpt.vocab_size
    kept, contexts, cut = random_scored(3, vocab)
    assert 0 < cut < 0.5
    before = random_kept(3, 9, 64, vocab)
    options = replace(hints.config.improve, beta=beta)
    teacher = Teacher(hints.gpt, options, moved(student))
    (batch,) = minibatches(kept, 1, CONTEXT, np.uint64(5))
    loss, losses_BC, found = objective_of(options, CONTEXT, teacher=teacher)(student, batch)
    loss.backward()
    gradients = [p.grad.clone() for p in student.parameters()]
    student.zero_grad()
    (behind,) = teacher._start
    whole, firsts, costs, exact, num_cut = [], [], [], [], 0
    for k, tokens in enumerate(contexts):
        start, stop, prompt = int(before.offsets[k]), int(before.offsets[k + 1]), int(before.prompts[k])
        stream = before.tokens[start:stop].astype(np.int64)
        read = np.concatenate([stream[:1], tokens, stream[1:]])[: CONTEXT + 1]
        num = len(read) - len(tokens) - prompt
        num_cut += len(stream) - prompt - num
        seen = torch.from_numpy(stream[: prompt + num])[None, :-1]
        mine = student(seen)[0, prompt - 1 :].double().softmax(-1)
        with torch.no_grad():
            theirs = behind(torch.from_numpy(read)[None, :-1])[0, prompt + len(tokens) - 1 :].double().softmax(-1)
        assert len(mine) == len(theirs) == num > 0
        each = [naive_divergence(a, b, beta) for a, b in zip(mine.tolist(), theirs.tolist(), strict=True)]
        whole += each
        costs += [
            -math.log(row[token]) for row, token in zip(theirs.tolist(), stream[prompt : prompt + num], strict=True)
        ]
        if kept.firsts[k]:
            firsts.append(sum(each[: kept.firsts[k]]))
        middle = (1 - beta) * mine + beta * theirs
        if beta in (0, 1):
            p, q = (theirs, mine) if beta == 0 else (mine, theirs)
            exact.append((p * (p / q).log()).sum())
        else:
            told = beta * theirs * (theirs / middle).log() + (1 - beta) * mine * (mine / middle).log()
            exact.append(told.sum())
    assert cut == pytest.approx(num_cut / float((np.diff(before.offsets) - before.prompts).sum()))
    assert float(loss.detach()) == pytest.approx(np.mean(whole), rel=1e-4)
    assert float(losses_BC.sum()) == pytest.approx(sum(whole), rel=1e-4)
    assert float(found["divergence"]) == pytest.approx(np.mean(whole), rel=1e-4)
    assert float(found["divergence_first"]) == pytest.approx(np.mean(firsts), rel=1e-4)
    assert float(found["teacher_nll"]) == pytest.approx(np.mean(costs), rel=1e-4)
    (sum(exact) / len(whole)).backward()
    for gradient, parameter in zip(gradients, student.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-5)


def test_neither_the_order_nor_the_rows_of_rollouts_matter(hints: Plan, student: GPT) -> None:
    kept, _, _ = random_scored(4, hints.gpt.vocab_size)
    objective = objective_of(
        hints.config.improve, CONTEXT, teacher=Teacher(hints.gpt, hints.config.improve, moved(student))
    )

    def loss_of(part: Kept, key: int = 0) -> float:
        return float(objective(student, minibatches(part, 1, CONTEXT, np.uint64(key))[0])[0].detach())

    found = [loss_of(kept, key) for key in range(3)]
    one_by_one = [(kept.part(np.array([k])), int(np.diff(kept.offsets)[k] - kept.prompts[k])) for k in range(9)]
    alone = [loss_of(part) * num for part, num in one_by_one]
    assert found == pytest.approx([sum(alone) / sum(n for _, n in one_by_one)] * 3, rel=1e-5)
    assert found[0] > 1e-3


def test_what_is_written_is_the_same_on_both_sides() -> None:
    looked_at = 0
    for seed in range(20):
        kept, contexts, _ = random_scored(seed, VOCAB)
        behind = kept.behind
        assert behind is not None
        for k, tokens in enumerate(contexts):
            mine, theirs = (each.tokens[each.offsets[k] : each.offsets[k + 1]] for each in (kept, behind))
            assert np.array_equal(theirs, np.concatenate([mine[:1], tokens, mine[1:]]))
            assert behind.prompts[k] == kept.prompts[k] + len(tokens)
            assert len(mine) > kept.prompts[k]
            assert len(theirs) <= CONTEXT + 1
            looked_at += len(tokens) > 0
        (batch,) = minibatches(kept, 1, CONTEXT, np.uint64(seed))
        flat, read = batch["tokens"].flatten(), batch["teacher_tokens"].flatten()
        inside = batch["mask"][:, 1:]  # the token before a place is a written one, but for the first
        for places, tokens in ((batch["places"], flat), (batch["teacher_places"], read)):
            assert torch.equal(tokens[places[:, 1:]][inside], flat[batch["places"][:, 1:]][inside])
    assert looked_at > 100


@pytest.mark.parametrize("kind", ["fixed", "ema", "live"])
def test_gradients_flow_into_the_student_alone(hints: Plan, student: GPT, kind: str) -> None:
    options = replace(hints.config.improve, teacher=kind)
    kept, _, _ = random_scored(5, hints.gpt.vocab_size)
    (batch,) = minibatches(kept, 1, CONTEXT, np.uint64(0))
    start = moved(student) if kind == "fixed" else student.state_dict()
    teacher = Teacher(hints.gpt, options, start)
    objective_of(options, CONTEXT, teacher=teacher)(student, batch)[0].backward()
    found = [p.grad.clone() for p in student.parameters()]
    assert all(bool(gradient.any()) for gradient in found)
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert list(teacher.state_dict()) == ([] if kind != "ema" else [f"average.{name}" for name in student.state_dict()])
    if kind != "fixed":  # at the first step, each is the start
        student.zero_grad()
        fixed = replace(options, teacher="fixed")
        same = Teacher(hints.gpt, fixed, student.state_dict())
        objective_of(fixed, CONTEXT, teacher=same)(student, batch)[0].backward()
        assert all(torch.equal(a, p.grad) for a, p in zip(found, student.parameters(), strict=True))


def test_an_average_follows_the_student_and_a_fixed_one_does_not(hints: Plan, student: GPT) -> None:
    start = {name: weight.clone() for name, weight in student.state_dict().items()}
    options = replace(hints.config.improve, teacher="ema", teacher_rate=0.25)
    average, fixed = Teacher(hints.gpt, options, start), Teacher(hints.gpt, hints.config.improve, start)
    average.follow(student)
    assert average.average is not None
    assert equal(average.average.state_dict(), start)
    expected = {name: weight.double() for name, weight in start.items()}
    for seed in range(3):
        student.load_state_dict(moved(student, seed))
        average.follow(student)
        fixed.follow(student)
        expected = {name: 0.75 * w + 0.25 * student.state_dict()[name].double() for name, w in expected.items()}
    for name, weight in average.average.state_dict().items():
        torch.testing.assert_close(weight.double(), expected[name], rtol=1e-5, atol=1e-7)
    assert equal(fixed._start[0].state_dict(), start)


def test_without_a_context_the_start_tells_its_student_nothing(hints: Plan, student: GPT) -> None:
    """And with one it does."""
    seen = {}
    for name in ("none", "plan"):
        chosen = task(hints, context=name)
        made = Practice(chosen, student).make(0)
        teacher = Teacher(hints.gpt, chosen.options, hints.start.state_dict)
        objective = objective_of(chosen.options, CONTEXT, teacher=teacher)
        found = [objective(student, batch) for batch in made.batches[0]]
        assert len(found) == 2
        seen[name] = [float(values["divergence"]) for _, _, values in found]
        assert made.metrics["kept"] == 1
        assert ("context_tokens" in made.metrics) == (name != "none")
        assert made.metrics["cut"] == 0 or name != "none"
    assert max(map(abs, seen["none"])) < 1e-6
    assert min(seen["plan"]) > 1e-4


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_options_reach_the_loss(hints: Plan, student: GPT, temperature: float) -> None:
    """The written token alone, ratios to the policy that wrote, and a bound on the divergence of a token."""
    written = {"loss": "distillation", "problems": 16, "group": 1, "context": "plan", "temperature": temperature}
    found = {}
    for name, more in {
        "plain": {},
        "ratio": {"ratio_max": 2.0},
        "sampled": {"support": "sampled", "beta": 1.0},
        "bound": {"token_max": 0.01},
        "some": {"support": "teacher", "top_k": 1, "tail": True},
    }.items():
        options = ImproveConfig(**written, **more)
        made = Practice(task(hints)._replace(options=options), student).make(0)
        (batch,) = made.batches[0]
        assert ("old" in batch) == (name == "ratio")
        teacher = Teacher(hints.gpt, options, moved(student))
        loss, _, values = objective_of(options, CONTEXT, teacher=teacher)(student, batch)
        found[name] = {key: float(value) for key, value in values.items()} | {"loss": float(loss.detach())}
        nll = float(student(batch["tokens"], batch["positions"], batch["doc_ids"], batch["targets"]).sum().detach())
        found[name]["nll"] = nll / batch["num_targets"]
    plain, sampled = found["plain"], found["sampled"]
    assert found["ratio"]["ratio"] == pytest.approx(1, abs=1e-3)
    assert found["ratio"]["loss"] == pytest.approx(plain["loss"], rel=1e-3)
    assert sampled["divergence"] == pytest.approx(sampled["teacher_nll"] - sampled["nll"], rel=1e-3)
    assert 0 < found["bound"]["loss"] <= 0.01 < plain["loss"]
    assert 0 < found["bound"]["token_max"] < 1
    assert 0 < found["some"]["loss"] < plain["loss"]


def test_contexts_are_those_of_evaluations_and_a_function_of_the_round(hints: Plan) -> None:
    chosen = task(hints, context="foreign_plan", problems=32)
    problems = draw(chosen, 2)
    found, again, other = (make_contexts(chosen, problems, number).tokens for number in (2, 2, 3))
    system = hints.system
    source = ContextSource(
        system.env, system.strategy, system.dialect, system.splits, max_nodes=system.max_nodes, seed=chosen.seed,
        stream="practice 2",
    )  # fmt: skip
    expected = source.of_problems(problems, Asked("plan", "foreign"))
    assert all(np.array_equal(a, b) and np.array_equal(a, c) for a, b, c in zip(found, again, expected, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(found, other, strict=True))
    for tokens in found:
        (item,) = read_context(system.dialect, np.concatenate([[1], tokens])).items
        assert item.name == "hint:plan"


def test_problems_without_a_plan_or_without_room_have_no_context(hints: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = task(hints, context="plan", problems=4)
    problems, long = draw(chosen, 0), np.full(90, 20, np.int64)
    short = long[:5]
    monkeypatch.setattr(ContextSource, "of_problems", lambda self, problems, asked: [short, NOTHING, long, short])
    found = make_contexts(chosen, problems, 0)
    assert [len(tokens) for tokens in found.tokens] == [5, 0, 0, 5]
    assert found.metrics() == {"no_plan": 0.25, "no_room": 0.25, "context_tokens": 2.5}
    with pytest.raises(UserError, match=r"of 4 training problems 1 have a context that leaves no room .*context=96"):
        check_context(chosen, problems)
    monkeypatch.setattr(ContextSource, "of_problems", lambda self, problems, asked: [NOTHING] * 4)
    with pytest.raises(UserError, match=r"improve.context=plan: none of 4 training problems has a plan to hint at"):
        check_context(chosen, problems)


def test_answers_behind_a_hint_are_learned_without_it(hints: Plan, student: GPT) -> None:
    options = ImproveConfig(loss="nll", selection="first_correct", context="plan", problems=16, group=4)
    chosen = task(hints)._replace(options=options)
    problems = draw(chosen, 1)
    contexts = make_contexts(chosen, problems, 1)
    answers, plain = write(chosen, student, problems, 1, contexts), write(chosen, student, problems, 1)
    assert all(len(tokens) for tokens in contexts.tokens)
    differ = 0
    for answer, without, tokens in zip(
        answers, plain, [tokens for tokens in contexts.tokens for _ in range(4)], strict=True
    ):
        prompt = answer.num_prompt
        assert np.array_equal(answer.tokens[:prompt], without.tokens[:prompt])
        whole = np.concatenate([answer.tokens[:1], tokens, answer.tokens[1:]]).astype(np.int64)
        with torch.no_grad():
            scores = student(torch.from_numpy(whole)[None, :-1])[0, prompt + len(tokens) - 1 :].log_softmax(-1)
        expected = scores.gather(1, torch.from_numpy(whole[prompt + len(tokens) :])[:, None])[:, 0]
        np.testing.assert_allclose(answer.logprobs, expected, atol=1e-4)
        differ += len(answer.tokens) != len(without.tokens) or (answer.tokens != without.tokens).any()
    assert differ > 10
    (batch,) = Practice(chosen, student).make(1).batches[0]
    assert not (batch["tokens"][batch["positions"] == 1] == hints.system.dialect.slot.begin).any()


def test_examples_and_tokens_are_matched(hints: Plan, student: GPT) -> None:
    options = ImproveConfig(loss="nll", selection="solved", problems=32, group=2)
    chosen = task(hints)._replace(options=options)
    problems = draw(chosen, 0)
    found = verified(chosen, problems, write(chosen, student, problems, 0), 0)
    found = found.replace(rewards=np.random.default_rng(0).random(64) < 0.5)
    right, lengths = np.flatnonzero(found.rewards), found.lengths

    def kept(**changes: int) -> list[int]:
        return chosen_of(found, replace(options, **changes), np.uint64(0)).tolist()

    assert kept() == right.tolist()
    for num in (1, 8, len(right)):
        assert kept(examples=num) == right[:num].tolist()
    assert not kept(examples=len(right) + 1)
    total = int(lengths[right].sum())
    assert kept(most_tokens=total) == right.tolist()
    for most in (total - 1, total // 2, int(lengths[right[0]]) - 1):
        chosen_ones = kept(most_tokens=most)
        num = len(chosen_ones)
        assert chosen_ones == right[:num].tolist()
        assert lengths[chosen_ones].sum() <= most < lengths[right[: num + 1]].sum()
    made = Practice(chosen._replace(options=replace(options, examples=65)), student).make(0)
    assert not made.batches
    assert "for improve.minibatches=1 and improve.examples=65; of 32 problems" in made.why


@pytest.mark.parametrize("kind", ["ema", "fixed"])
def test_a_stopped_stage_goes_on_to_the_same_weights(
    slotted: RunFolder, tmp_path: Path, stop_at: Callable[[int], None], kind: str
) -> None:
    words = [*SLOT, f"start={slotted.path}", "improve=distill", f"improve.teacher={kind}", *SMALL, "optim.lr=0.01"]
    words += ["eval.pass_k=[2]", "eval.pass_k_problems=4", "eval.first_action=true"]
    stop_at(-1)
    whole = train(tmp_path / "whole", *words)
    stop_at(4)
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", *words)
    stop_at(-1)
    gone_on = train(tmp_path / "stopped", *words)
    assert equal(weights(whole), weights(gone_on))
    assert not equal(weights(whole), weights(slotted))
    contents = [torch.load(run.checkpoint, weights_only=True)["state_dict"] for run in (whole, gone_on)]
    averages = [{k: v for k, v in content.items() if k.startswith("teacher.")} for content in contents]
    assert (len(averages[0]) > 5) == (kind == "ema")
    assert all(torch.equal(tensor, averages[1][name]) for name, tensor in averages[0].items())
    metrics = read(whole.metrics)["metrics"]
    assert metrics == read(gone_on.metrics)["metrics"]
    assert metrics["entropy_first/val"]["value"] > 0
    tags = points(whole.path)
    for tag in ("divergence", "divergence_first", "teacher_nll", "cut", "context_tokens", "no_plan", "entropy_first"):
        assert sorted(tags[f"improve/{tag}"]) == [2, 4, 6], tag
    page = (Path(__file__).parents[2] / "docs" / "improve.md").read_text(encoding="utf-8")
    assert all(f"`{tag.removeprefix('improve/')}`" in page for tag in tags if "improve/" in tag and "error" not in tag)


REFUSED = [
    ("improve=distill improve.context=much", "improve.context must be one of none, classes, first, .* got 'much'"),
    ("improve=distill improve.support=sampled", "improve.support=sampled has the gradient of improve.beta=1 alone"),
    ("improve=distill improve.teacher_rate=0.1", "improve.teacher_rate=0.1 has no use with improve.teacher=fixed"),
    ("improve=distill improve.top_k=5", "improve.top_k=5 has no use with improve.support=all"),
    ("improve=distill improve.examples=5", "improve.examples=5 has no use with improve.loss=distillation"),
    ("improve=hinted improve.beta=1", "improve.beta=1.0 has no use with improve.loss=nll"),
    (
        "improve=hinted improve.guided=true",
        "improve.guided and improve.context do not go together",
    ),
    ("improve=hinted improve.examples=5", "improve.examples=5 are fewer than improve.minibatches=16"),
    ("improve=grpo improve.context=plan", "improve.context=plan has no use with improve.loss=clip"),
]


def test_what_cannot_work_is_one_line_before_anything_is_written(
    slotted: RunFolder, base: RunFolder, tmp_path: Path
) -> None:
    cases = [(f"{words} start={slotted.path} {' '.join(SLOT)}", complaint) for words, complaint in REFUSED]
    cases.append(
        (f"improve=distill start={base.path}", "improve.context=plan: this base has no context slot; slot=hint")
    )
    cases.append(
        (f"improve=hinted start={base.path}", "improve.context=plan: this base has no context slot; slot=hint")
    )
    for words, complaint in cases:
        with pytest.raises(UserError, match=complaint) as told:
            train(tmp_path / "new", *words.split())
        assert "\n" not in str(told.value)
        assert not (tmp_path / "new").exists(), words


def test_the_loss_has_the_options_of_its_keys_and_the_temperature_of_the_model() -> None:
    options = ImproveConfig(
        loss="distillation", temperature=0.5, beta=0.2, support="both", top_k=7, tail=True, token_max=2.0, ratio_max=3.0,
        aggregation="constant",
    )  # fmt: skip
    found = distillation_options(options, 77)
    assert (found.temperature, found.beta, found.support, found.top_k, found.tail) == (1.0, 0.2, "both", 7, True)
    assert (found.token_max, found.ratio_max, found.aggregation, found.max_tokens) == (2.0, 3.0, "constant", 77)
    assert teachers.LOOKED_AT > 0
