"""Our judge beside reasoning-gym's scorer, on its instances (skipped without the package).

Its scorer evaluates what stands in the answer, so that only texts of trees are given to it. What is known to differ is
counted, not asserted equal: it takes values within a relative 1e-5, and where the answer divides by zero.
"""

from __future__ import annotations

import random

import pytest
from naive.answers import random_tree, text_of, value_of

from sos.interop.answers.judge import RULES, score_text


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
