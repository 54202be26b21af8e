"""Guided self-training: landmarks of a solution in the model's own search."""

from __future__ import annotations

import numpy as np
import pytest
from stages import TASK, task

from sos.compose import compose
from sos.errors import UserError
from sos.improve.guided import Solution, check_guidance, guide, reached, solution_of, spliced
from sos.improve.rounds import Practice, draw, verified, write
from sos.model.gpt import GPT
from sos.rng import stream_key
from sos.search.run import run_search
from sos.stream.codec import decode, encode
from sos.stream.dialect.vocab import EOS
from sos.stream.verify import verify, verify_tokens
from sos.system import System, build_system
from sos.trace import EXPAND, GENERATE, KIND, NODE, PARENT
from sos.train.plan import Plan

TREES = [
    TASK,
    [],
    ["experiment=whole_numbers"],
    ["stream=sos", "data.context=4096"],
    ["experiment=sudoku"],
    ["experiment=sat"],
]


def system_of(words: list[str]) -> System:
    return build_system(compose(words))


def deepest(system: System, tokens: np.ndarray, solution: Solution) -> int:
    """How far down a stream follows a solution, by a walk over all of its chains of nodes."""
    trace = decode(system.dialect, system.env, tokens).trace
    visited = {int(e[NODE]): trace.states[e[2]].tolist() for e in trace.events if e[KIND] == EXPAND}
    best = 0
    for node in visited:
        chain, at = [], node
        while at > 0:
            chain.append(visited.get(at))
            at = int(trace.nodes[at, PARENT])
        wanted = [solution.states[j].tolist() for j in range(len(chain), 0, -1)]
        if len(chain) < len(solution.states) and chain == wanted:
            best = max(best, len(chain))
    return best


@pytest.mark.parametrize("words", TREES, ids=lambda words: words[0] if words else "default")
def test_landmark_after_landmark_any_search_becomes_one_that_solves(words: list[str]) -> None:
    """Nothing is written between landmarks, so that they alone must lead to the goal; what stays of the search is what
    it was, and without mistakes."""
    system = system_of(words)
    problems = draw_problems(system, 12)
    steps, cuts, silent = 0, set(), bool(system.dialect.program.silent_expand)
    for k, problem in enumerate(problems):
        solution = solution_of(system, problem)
        assert solution is not None
        whole, _, prompt = encode(system.dialect, run_search(system.strategy, system.env, problem, 5000))
        tokens = whole[: max(prompt, len(whole) * (k % 4 + 1) // 5)].astype(np.int32)
        for _ in range(len(solution.events)):
            trace = decode(system.dialect, system.env, tokens).trace
            j, node = reached(trace, solution, silent)
            unvisited = silent and trace.events[-1, KIND] == GENERATE and j == deepest(system, tokens, solution) + 1
            assert unvisited or j == deepest(system, tokens, solution)
            new, cut = spliced(system, tokens, solution, stream_key(k, "test"))
            assert np.array_equal(new[:cut], tokens[:cut])
            trace = decode(system.dialect, system.env, new).trace
            made = [e for e in trace.events if e[KIND] == GENERATE][-1]
            assert trace.nodes[made[NODE], PARENT] == node
            assert not verify(system.env, trace).errors.any()
            steps, tokens = steps + 1, new
            cuts.add(cut - prompt)
            if j + 1 == len(solution.events):
                break
        verdict, _, _ = verify_tokens(system.dialect, system.env, problem, np.append(tokens, EOS))
        assert verdict.solved
        assert not verdict.errors.any()
    assert steps >= 15
    assert len(cuts) >= 2


def draw_problems(system: System, num: int) -> np.ndarray:
    from sos.data.splits import sample_problems

    return sample_problems(system.env, system.splits, "train", num, seed=3, solvable=True)


def test_each_child_is_drawn_alike_often() -> None:
    system = system_of(TASK)
    counts: dict[int, int] = {}
    (problem,) = draw_problems(system, 1)
    solution = solution_of(system, problem)
    others = [p for p in draw_problems(system, 60) if not np.array_equal(p, problem)]
    assert others
    tokens = encode(system.dialect, run_search(system.strategy, system.env, problem, 5000))[0]
    trace = decode(system.dialect, system.env, tokens).trace
    node = reached(trace, solution, True)[1]
    generates = trace.events[trace.events[:, KIND] == GENERATE]
    num = int((trace.nodes[generates[:, NODE], PARENT] == node).sum())
    for seed in range(400):
        _, cut = spliced(system, tokens, solution, stream_key(seed, "draws"))
        counts[cut] = counts.get(cut, 0) + 1
    assert len(counts) == num
    assert all(abs(count - 400 / num) < 5 * (400 / num) ** 0.5 for count in counts.values())


def test_wrong_answers_are_guided_and_right_ones_stay(plan: Plan, model: GPT) -> None:
    chosen = task(plan, loss="nll", selection="solved", problems=24, group=4, guided=True)
    problems = draw(chosen, 1)
    rollouts = write(chosen, model, problems, 1)
    before = verified(chosen, problems, rollouts, 1)
    right = before.rewards > 0
    found = guide(chosen, model, problems, rollouts, right, 1)
    after = verified(chosen, problems, found.rollouts, 1)
    assert np.array_equal(found.right, after.rewards > 0)
    assert all(found.rollouts[i] is rollouts[i] for i in np.flatnonzero(right))
    assert not found.landmarks[right].any()
    assert (found.landmarks[~right] > 0).all()
    assert found.right.sum() > right.sum() + 20
    for i, answer in enumerate(found.rollouts):
        assert np.array_equal(answer.tokens[: answer.num_prompt], rollouts[i].tokens[: answer.num_prompt])
        assert len(answer.logprobs) == len(answer.tokens) - answer.num_prompt
        solution = solution_of(plan.system, problems[i // 4])
        assert np.isnan(answer.logprobs).any() == (found.landmarks[i] > 0)
        assert found.landmarks[i] <= len(solution.events)
    again = guide(chosen, model, problems, rollouts, right, 1)
    assert all(np.array_equal(a.tokens, b.tokens) for a, b in zip(found.rollouts, again.rollouts, strict=True))
    made = Practice(chosen, model).make(1)
    assert made.metrics["kept"] == found.right.mean()
    assert made.metrics["reward"] == right.mean()
    assert made.metrics["guided"] == (~right).mean()
    assert made.rollout_tokens == before.lengths.sum() + found.tokens


def test_what_is_no_tree_or_has_no_solution_is_not_guided() -> None:
    refused = 0
    for name in ("layered", "maze", "sokoban"):
        with pytest.raises(UserError, match=f"improve.guided=true needs searches that are trees.*env.name={name}"):
            check_guidance(system_of([f"experiment={name}"]), "improve.guided=true")
        refused += 1
    assert refused == 3
    check_guidance(system_of(TASK), "improve.guided=true")
    from sos.data.splits import sample_problems

    system = system_of([])
    (problem,) = sample_problems(system.env, system.splits, "train", 1, seed=1, solvable=False)
    assert solution_of(system, problem) is None
