"""Our judge on answers of known kinds, and beside reasoning-gym's scorer on its instances (skipped without the package).

`tests/bench/answers_beside_gym.py` counts where both differ, of a thousand answers. Its scorer evaluates what stands in
the answer, so that only texts of trees are given to it here. What is known to differ is counted, not asserted equal: it takes
values within a relative 1e-5, and where the answer divides by zero.
"""

from __future__ import annotations

import random

import pytest
from answer_kinds import KINDS, answers
from naive.answers import flags, random_tree, text_of, value_of

from sos.interop.answers.judge import RULES, score_text


def test_answers_of_every_kind_are_judged_as_they_were_made() -> None:
    rng = random.Random(2)
    problems = []
    while len(problems) < 4 * len(KINDS):
        numbers = [rng.randint(1, 99) for _ in range(rng.randint(3, 5))]
        tree, results = random_tree(rng, numbers, 0.0), []
        try:
            value = value_of(tree, results)
        except ZeroDivisionError:
            continue
        if value > 0 and not flags(results):
            problems.append((numbers, int(value), text_of(rng, tree)))
    right = 0
    for kind, (numbers, target, text) in answers(problems):
        found = score_text(text, numbers, target, RULES["rationals"])
        assert bool(found.value) == KINDS[kind].right, (kind, text, numbers, target, found)
        right += KINDS[kind].right
    assert 4 * len(KINDS) // 3 < right < 4 * len(KINDS)


def test_reasoning_gym_agrees_on_its_instances() -> None:
    gym = pytest.importorskip("reasoning_gym")
    dataset = gym.create_dataset("countdown", size=60, seed=1, min_numbers=3, max_numbers=5)
    rng = random.Random(1)
    right = wrong = 0
    for k in range(60):
        entry = dataset[k]
        numbers, target = entry["metadata"]["numbers"], entry["metadata"]["target"]
        solution = entry["metadata"]["expression"]
        assert score_text(solution, numbers, target, RULES["rationals"]).value == 1.0, entry
        for _ in range(10):
            used = rng.sample(numbers, len(numbers))
            tree = random_tree(rng, used[1:] if rng.random() < 0.2 else used)
            text = text_of(rng, tree)
            try:
                value = value_of(tree, [])
            except ZeroDivisionError:
                continue
            aim = int(value) if rng.random() < 0.5 else target
            asked = {**entry, "metadata": {**entry["metadata"], "target": aim}}
            ours = score_text(text, numbers, aim, RULES["rationals"])
            if value != aim and abs(value - aim) <= 1e-5 * abs(aim) + 1e-6:
                continue  # its tolerance
            theirs = dataset.score_answer(text, asked)
            assert (theirs == 1.0) == bool(ours.value), (text, numbers, aim, theirs, ours)
            right, wrong = right + (theirs == 1.0), wrong + (theirs != 1.0)
    assert right > 80
    assert wrong > 80
