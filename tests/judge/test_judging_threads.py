"""Test that threads which share out the judging find what one finds."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from sos.compose import compose
from sos.datasets.source import build_source
from sos.judge import rollouts as judging
from sos.judge.rollouts import Judgement, judge
from sos.model.cpu import threads
from sos.model.rollout import Rollout
from sos.stream.codec import decode
from sos.system import build_system


def test_any_number_of_threads_judges_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right streams, cut ones and ones with a token changed, in pieces of seven."""
    config = compose(["experiment=smoke"])
    system = build_system(config)
    chunk, rng = build_source(config, system).chunk(0, 80), np.random.default_rng(1)
    problems, answers = [], []
    for k, num_prompt in enumerate(chunk.prompts.tolist()):
        tokens = chunk.tokens[chunk.offsets[k] : chunk.offsets[k + 1]].astype(np.int32)
        problems.append(decode(system.dialect, system.env, tokens).trace.problem)
        if k % 3 == 1:
            tokens = tokens[: rng.integers(num_prompt, len(tokens))]
        elif k % 3 == 2:
            tokens[rng.integers(num_prompt, len(tokens))] = rng.integers(3, len(system.dialect.vocab))
        answers.append(Rollout(tokens, num_prompt, k % 3 != 1, np.zeros(0, np.float32)))
    monkeypatch.setattr(judging, "TOGETHER", 7)
    found: list[Judgement] = []
    for num in (1, 2, 4):
        monkeypatch.setattr(threads, "num_threads", lambda num=num: num)
        found.append(judge(system, np.stack(problems), answers))
    for field in fields(Judgement):
        first, *others = (getattr(judged, field.name) for judged in found)
        assert len(first) == len(answers) > 50
        assert all(np.array_equal(first, other) for other in others)
    assert 10 < found[0].solved.sum() < len(answers) - 10
    with pytest.raises(ValueError, match=f"{len(answers)} rollouts answer 3 problems"):
        judge(system, np.stack(problems[:3]), answers)
