"""Chains of attempts: budgets, what they draw, what policies decide, the judge, and a stage that learns from them."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from stages import task

from sos.compose import compose
from sos.data.splits import sample_problems
from sos.errors import UserError
from sos.improve.attempts import Attempt, Decision, Diagnosis, diagnose, tried_at_root
from sos.improve.attempts_chains import (
    Chain,
    Posed,
    Settings,
    Start,
    Writer,
    first_attempts,
    follow,
    judged,
    order,
    take,
)
from sos.improve.attempts_practice import second_attempts
from sos.improve.rounds import Practice, draw, verified, write
from sos.model.gpt import GPT
from sos.model.rollout import rollout
from sos.rng import stream_key
from sos.schema.improve import ImproveConfig
from sos.schema.improve_words import DECIDING, SECOND
from sos.search.run import run_search
from sos.stream.codec import decode, encode
from sos.stream.verify import verify
from sos.system import build_system
from sos.trace import ACTION, GENERATE, KIND, PARENT
from sos.train.plan import Plan

NUM, BUDGET = 80, 40


def writer_of(plan: Plan, model: GPT, **changes: float) -> Writer:
    return Writer(plan.system, model, Settings(**changes), lambda device: contextlib.nullcontext())


@pytest.fixture
def problems(plan: Plan) -> np.ndarray:
    return sample_problems(plan.system.env, plan.system.splits, "train", NUM, seed=9)


@pytest.fixture
def writer(plan: Plan, model: GPT) -> Writer:
    return writer_of(plan, model)


def same(a: Chain, b: Chain) -> bool:
    pairs = zip(a.attempts, b.attempts, strict=False)
    alike = all(np.array_equal(x.tokens, y.tokens) and x.decision == y.decision for x, y in pairs)
    return alike and (len(a.attempts), a.spent, a.solved_at, a.calls) == (
        len(b.attempts),
        b.spent,
        b.solved_at,
        b.calls,
    )


def check_chain(writer: Writer, chain: Chain, policy: str) -> int:
    """Check a chain from its first attempt to its last; return how many began with something of the one before."""
    system, tried, went_on = writer.system, set(), 0
    assert chain.spent == sum(attempt.charged for attempt in chain.attempts) <= BUDGET
    for k, (attempt, finding) in enumerate(zip(chain.attempts, chain.findings, strict=True)):
        assert len(attempt.logprobs) == len(attempt.tokens) - attempt.num_prompt
        assert (attempt.decision == Decision.FIRST) == (k == 0)
        if k:
            before = chain.attempts[k - 1]
            assert np.array_equal(attempt.tokens[: attempt.kept], before.tokens[: attempt.kept])
            assert (attempt.kept > attempt.num_prompt) <= (attempt.decision in (Decision.REFINE, Decision.CUT))
        if attempt.decision == Decision.REFINE:
            kept = decode(system.dialect, system.env, attempt.tokens[: attempt.kept]).trace
            assert not verify(system.env, kept).errors.any()
            went_on += attempt.kept > attempt.num_prompt
        if attempt.decision == Decision.PIVOT:
            generated = finding.trace.events[finding.trace.events[:, KIND] == GENERATE]
            if len(generated):
                first = finding.trace._replace(events=finding.trace.events[:2])
                assert finding.trace.nodes[generated[0, 1], PARENT] == 0
                assert not tried_at_root(system, finding._replace(trace=first)) & tried
        tried |= tried_at_root(system, finding)
    if policy == "restart":
        assert {attempt.decision for attempt in chain.attempts[1:]} <= {Decision.RESTART}
    solved = chain.findings[-1].diagnosis == Diagnosis.SOLVED
    assert chain.right == chain.accepted == solved == (chain.ended == Decision.PROCEED)
    assert (chain.solved_at >= 0) == solved
    assert chain.solved_at <= chain.spent
    return went_on


def test_budgets_hold_and_every_attempt_begins_as_its_decision_says(writer: Writer, problems: np.ndarray) -> None:
    posed = Posed(problems)
    first = first_attempts(writer, posed)
    solved, went_on, decided = {}, 0, set()
    for policy in DECIDING:
        chains = follow(writer, policy, posed, first, BUDGET)
        assert len(chains) == NUM
        for chain, attempt in zip(chains, first, strict=True):
            assert np.array_equal(chain.attempts[0].tokens, attempt.tokens)
            went_on += check_chain(writer, chain, policy)
            decided |= {attempt.decision for attempt in chain.attempts}
        solved[policy] = np.array([chain.solved_at for chain in chains])
        assert chains[0].calls >= len(chains[0].attempts) * (policy != "oracle")
    assert went_on > 10
    assert decided == set(Decision) - {Decision.PROCEED, Decision.STOP}
    assert (solved["restart"] < 0).sum() > 1
    assert len({tuple(found.tolist()) for found in solved.values()}) > 3


def test_a_smaller_budget_can_be_read_off_a_larger_one(writer: Writer, problems: np.ndarray) -> None:
    posed = Posed(problems)
    first = first_attempts(writer, posed)
    compared = 0
    for policy in ("rule", "oracle"):
        large = np.array([chain.solved_at for chain in follow(writer, policy, posed, first, BUDGET)])
        for budget in (4, 11, 25):
            chains = follow(writer, policy, posed, first, budget)
            assert max(chain.spent for chain in chains) <= budget
            within = np.array([chain.solved_at for chain in chains])
            assert np.array_equal(within, np.where(large <= budget, large, -1))
            compared += len(np.unique(within >= 0))
    assert compared > 8


def test_draws_know_neither_the_order_nor_the_neighbours(plan: Plan, model: GPT, problems: np.ndarray) -> None:
    writer = writer_of(plan, model)
    posed = Posed(problems, 2)
    first = first_attempts(writer, posed)
    chosen = np.random.default_rng(1).permutation(NUM)[:13]
    alone = Posed(problems[chosen], 2, chosen)
    small = writer_of(plan, model, batch_size=3)
    again = first_attempts(small, alone)
    places = (2 * chosen[:, None] + [0, 1]).ravel()
    assert all(np.array_equal(again[i].tokens, first[k].tokens) for i, k in enumerate(places))
    assert any(not np.array_equal(first[2 * k].tokens, first[2 * k + 1].tokens) for k in range(NUM))
    for policy in ("random", "random_cut"):
        chains = follow(writer, policy, posed, first, BUDGET)
        others = follow(small, policy, alone, again, BUDGET)
        assert all(same(others[i], chains[k]) for i, k in enumerate(places))


def test_a_pivot_dictates_what_tells_it_apart_or_its_whole_action(plan: Plan, model: GPT, problems: np.ndarray) -> None:
    posed, lengths = Posed(problems), []
    for whole in (False, True):
        writer = Writer(plan.system, model, Settings(whole_action=whole), lambda device: contextlib.nullcontext())
        chains = follow(writer, "pivot", posed, first_attempts(writer, posed), BUDGET)
        forced = []
        for chain in chains:
            check_chain(writer, chain, "pivot")
            words = [found.tolist() for found in writer.openings_of(chain.problem)[0].words]
            for attempt in chain.attempts:
                dictated = attempt.tokens[attempt.kept : attempt.kept + attempt.forced].tolist()
                assert not whole or not dictated or dictated in words
                assert any(found[: len(dictated)] == dictated for found in words)
                forced += [len(dictated)] * (attempt.decision == Decision.PIVOT)
        lengths.append(np.mean(forced))
        short = Writer(plan.system, model, Settings(max_tokens=1, whole_action=whole), writer.decoding)
        cut = follow(short, "pivot", posed, first_attempts(short, posed), 3)
        assert {attempt.charged for chain in cut for attempt in chain.attempts} == {1}
    assert 0 < lengths[0] <= lengths[1]


def test_restarts_are_plain_answers(writer: Writer, model: GPT, problems: np.ndarray) -> None:
    posed = Posed(problems)
    first = first_attempts(writer, posed)
    chains = [c for c in follow(writer, "restart", posed, first, BUDGET) if len(c.attempts) > 1]
    second = [chain.attempts[1] for chain in chains]
    plain = rollout(
        model,
        [attempt.tokens[: attempt.num_prompt] for attempt in second],
        max_tokens=np.array([BUDGET - chain.attempts[0].charged for chain in chains]),
        temperature=1.0,
        seed=int(stream_key(0, "attempts")),
        problem_indices=np.array([chain.number for chain in chains]),
        sample_indices=np.full(len(chains), 2**20),
    )
    assert len(second) > 8
    assert all(np.array_equal(a.tokens, b.tokens) for a, b in zip(second, plain, strict=True))


def test_the_oracle_takes_the_branch_that_solves(writer: Writer, problems: np.ndarray) -> None:
    posed = Posed(problems)
    first = first_attempts(writer, posed)
    found = {policy: follow(writer, policy, posed, first, BUDGET) for policy in ("oracle", "refine", "pivot")}
    seen = {True: 0, False: 0}
    for k, oracle in enumerate(found["oracle"]):
        if len(oracle.attempts) == 1:
            continue
        others = [found[policy][k] for policy in ("refine", "pivot")]
        second = [c.findings[1] for c in others if c.attempts[1].decision != Decision.RESTART]
        goals = [finding.to_goal for finding in second if finding.diagnosis == Diagnosis.SOLVED]
        assert (oracle.findings[1].diagnosis == Diagnosis.SOLVED) == bool(goals)
        if goals:
            assert oracle.findings[1].to_goal == min(goals)
        if second:
            assert {right for right, _ in oracle.branches[0].values()} >= {bool(goals)}
        seen[bool(goals)] += 1
    assert min(seen.values()) > 3


def test_a_noisy_judge_submits_what_is_wrong_and_refuses_what_is_right(
    plan: Plan, model: GPT, problems: np.ndarray
) -> None:
    posed = Posed(problems)
    first = first_attempts(writer_of(plan, model), posed)
    exact = follow(writer_of(plan, model), "rule", posed, first, BUDGET)
    right = np.array([chain.solved_at >= 0 and len(chain.attempts) == 1 for chain in exact])
    assert 3 <= right.sum() < NUM - 3
    always = follow(writer_of(plan, model, judge_flips=1.0), "rule", posed, first, BUDGET)
    for chain, was_right in zip(always, right, strict=True):
        assert not chain.right
        assert (chain.accepted and len(chain.attempts) == 1) == (not was_right)
    some = follow(writer_of(plan, model, judge_flips=0.3), "rule", posed, first, BUDGET)
    flipped = np.array([(len(chain.attempts) == 1 and chain.accepted) for chain in some]) != right
    assert 3 < flipped.sum() < NUM / 2
    again = follow(writer_of(plan, model, judge_flips=0.3), "rule", posed, first, BUDGET)
    assert all(same(a, b) for a, b in zip(some, again, strict=True))
    assert any(chain.accepted and not chain.right for chain in some)


def test_the_rule_goes_by_the_diagnosis(plan: Plan, problems: np.ndarray) -> None:
    tokens = np.zeros(40, np.int32)
    attempt = Attempt(tokens, 8, 12, 0, True, np.zeros(32, np.float32), Decision.REFINE)
    some = diagnose(plan.system, problems[0], attempt)
    for diagnosis, kept, expected in (
        (Diagnosis.WRONG_STEP, 20, "refine pivot restart"),
        (Diagnosis.FALSE_GOAL, 20, "refine pivot restart"),
        (Diagnosis.UNREADABLE, 20, "refine pivot restart"),
        (Diagnosis.WRONG_STEP, 12, "pivot restart"),  # no further than the refinement before
        (Diagnosis.EXHAUSTED, 20, "pivot refine restart"),
        (Diagnosis.OUT_OF_BUDGET, 20, "pivot restart"),
    ):
        finding = some._replace(diagnosis=diagnosis)
        chain = Chain(problems[0], 0, attempts=[attempt], findings=[finding])
        options = {Decision.REFINE: Start(tokens[:kept], kept, 0, Decision.REFINE)}
        found = order("rule", Settings(), chain, options)
        assert " ".join(decision.name.lower() for decision in found) == expected


def test_what_the_solver_certifies_as_hopeless_is_stopped(model: GPT) -> None:
    system = build_system(compose(["experiment=whole_numbers"]))
    writer = Writer(system, model, Settings(), lambda device: contextlib.nullcontext())
    ends = []
    for solvable in (True, False):
        (problem,) = sample_problems(system.env, system.splits, "train", 1, seed=1, solvable=solvable)
        trace = run_search(system.strategy._replace(max_nodes=1), system.env, problem, 5000)
        tokens, _, prompt = encode(system.dialect, trace)
        assert len(trace.nodes[0]) == ACTION + system.env.action_width
        columns = (prompt, prompt, 0, True, np.zeros(len(tokens) - prompt, np.float32), Decision.FIRST)
        chain = Chain(problem, 0)
        attempt = Attempt(tokens.astype(np.int32), *columns)
        take(writer, chain, attempt, *judged(writer, chain, attempt), 5000)
        assert chain.findings[0].diagnosis == Diagnosis.EXHAUSTED
        assert chain.calls == 2  # of the verifier and of the solver
        ends.append(chain.ended)
    assert ends == [None, Decision.STOP]


@pytest.mark.parametrize("second", SECOND)
def test_a_stage_learns_what_was_written_behind_what_is_kept(plan: Plan, model: GPT, second: str) -> None:
    chosen = task(plan, loss="nll", selection="solved", problems=24, group=4, second=second)
    problems = draw(chosen, 1)
    rollouts = write(chosen, model, problems, 1)
    right = verified(chosen, problems, rollouts, 1).rewards > 0
    found = second_attempts(chosen, model, problems, rollouts, right, 1)
    assert not (found.second & right).any()
    assert found.second.sum() > 10
    assert found.refined.sum() <= found.second.sum()
    assert (found.refined.sum() > 0) == (second in ("refine", "rule", "random"))
    tokens = 0
    for i, (before, after) in enumerate(zip(rollouts, found.rollouts, strict=True)):
        if not found.second[i]:
            assert after is before
            continue
        kept = after.num_prompt
        assert np.array_equal(after.tokens[:kept], before.tokens[:kept])
        assert kept == before.num_prompt or found.refined[i]
        assert len(after.logprobs) == len(after.tokens) - kept
        tokens += len(after.tokens) - kept
    assert tokens == found.tokens
    made = Practice(chosen, model).make(1)
    after = verified(chosen, problems, found.rollouts, 1)
    assert made.metrics["kept"] == (after.rewards > 0).mean()
    assert made.metrics["second"] == found.second.mean()
    assert made.metrics["reward"] == right.mean()
    learned = sum(batch["num_targets"] for epoch in made.batches for batch in epoch)
    assert learned == after.lengths[after.rewards > 0].sum()


def test_what_cannot_go_together_is_refused_in_one_line(plan: Plan) -> None:
    for words, complaint in (
        ({"second": "rule", "guided": True}, "improve.guided and improve.second do not go together"),
        ({"second": "rule", "prefix": 0.5}, "improve.second and improve.prefix do not go together"),
        ({"second": "oracle"}, "improve.second must be one of none, rule, random, refine, pivot, restart"),
    ):
        with pytest.raises(UserError, match=complaint):
            ImproveConfig(loss="nll", selection="solved", **words)
    with pytest.raises(UserError, match=r"improve.second"):
        replace(ImproveConfig(loss="clip"), second="rule")
    maze = compose(["experiment=maze", "improve=second_attempts", f"start={plan.config.start}"])
    with pytest.raises(UserError, match=r"improve.second=rule needs searches that are trees.*env.name=maze"):
        Plan.of(maze)
