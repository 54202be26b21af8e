"""Rollouts that erase finished branches, by a model that writes what a teacher's pieces say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sizes import plain

import sos.judge.rolling as rolling
from sos.compose import compose
from sos.data.splits import sample_problems
from sos.judge.rolling import held, roll
from sos.model.rollout import Rollout
from sos.search.run import run_search
from sos.stream.codec import decode, encode
from sos.stream.erasing import pieces, returns
from sos.system import System, build_system


@pytest.fixture(scope="module")
def system() -> System:
    return build_system(compose(["stream.erase=true", "data.context=200"]))


class Reciter:
    """Writes behind each context what one of the pieces has there, token by token."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, ...], int] = {}
        self.config = SimpleNamespace(context=200)
        self.seeds: list[int] = []

    def learn(self, tokens: np.ndarray, num_old: int) -> None:
        for k in range(num_old, len(tokens)):
            self.known[tuple(tokens[:k].tolist())] = int(tokens[k])

    def rollout(
        self, model: Any, prompts: list[np.ndarray], *, max_tokens: np.ndarray, **options: Any
    ) -> list[Rollout]:
        self.seeds.append(options["seed"])
        found = []
        for prompt, most in zip(prompts, max_tokens, strict=True):
            tokens = prompt.tolist()
            while len(tokens) - len(prompt) < most and tokens[-1] != 2 and len(tokens) < self.config.context:
                # Behind a return and the token after it nothing is known: what is written there is not looked at.
                tokens.append(self.known.get(tuple(tokens), 4))
            new = len(tokens) - len(prompt)
            found.append(Rollout(np.array(tokens, np.int32), len(prompt), tokens[-1] == 2, np.ones(new, np.float32)))
        return found


def test_what_was_learned_from_pieces_is_written_as_a_whole(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    reciter, prompts, wholes, longest, cut = Reciter(), [], [], [], 0
    for problem in sample_problems(system.env, system.splits, "train", plain(30, 12)):
        tokens, _, num_prompt = encode(system.dialect, run_search(system.strategy, system.env, problem, 500))
        read = decode(system.dialect, system.env, tokens)
        found = pieces(tokens, num_prompt, returns(read.trace, read.align))
        for piece in found:
            reciter.learn(piece.tokens, piece.num_old)
        prompts.append(tokens[:num_prompt].astype(np.int32))
        wholes.append(tokens)
        longest.append(max(len(piece.tokens) for piece in found))
        cut += len(found) - 1
    assert cut > plain(20, 3)
    monkeypatch.setattr(rolling, "rollout", reciter.rollout)
    written = roll(system, reciter, prompts, max_tokens=None, seed=3)  # type: ignore[arg-type]
    for answer, whole, most, room in zip(written, wholes, longest, held(written), strict=True):
        assert answer.tokens.tolist() == whole.tolist()
        assert answer.finished
        assert len(answer.logprobs) == len(whole) - answer.num_prompt
        assert most <= room < most + rolling.AT_ONCE  # what was written behind a return was before it, too
    assert len(set(reciter.seeds)) == len(reciter.seeds) > 1


def test_a_budget_ends_an_answer_and_what_cannot_be_read_is_not_erased(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    reciter = Reciter()
    monkeypatch.setattr(rolling, "rollout", reciter.rollout)
    problem = sample_problems(system.env, system.splits, "train", 1)[0]
    tokens, _, num_prompt = encode(system.dialect, run_search(system.strategy, system.env, problem, 500))
    (answer,) = roll(system, reciter, [tokens[:num_prompt]], max_tokens=50)  # type: ignore[arg-type]
    assert (len(answer.tokens) - num_prompt, answer.finished) == (50, False)
    (answer,) = roll(system, reciter, [tokens[:num_prompt]], max_tokens=None)  # type: ignore[arg-type]
    assert len(answer.tokens) == reciter.config.context
    assert sum(new for _, new in answer.spans) == 200 - num_prompt
