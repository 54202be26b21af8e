"""The published words of Sokoban: theirs are ours byte for byte, and answers in them are judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drivers import tokenize
from hand_made_levels import level_of, row_of
from naive import sokoban as naive
from sizes import plain

from sos.data.splits import make_splits, sample_problems
from sos.envs import protocol
from sos.envs.sokoban.rules import Sokoban
from sos.errors import UserError
from sos.published.sokoban import from_published, to_published
from sos.search import AStar
from sos.search.run import run_search
from sos.stream.codec import encode
from sos.stream.dialect.compile import load_dialect
from sos.stream.verify import Verdict, verify_tokens
from sos.stream.viewing import view_trace
from sos.stream.views import VIEWS, View
from sos.trace import KIND, Event, Trace


def env_of(record: dict[str, Any]) -> Sokoban:
    level = naive.level_of(record["level"])
    return Sokoban(level.width, level.height, len(level.docks), 1, 3)


def records(reference: Path, file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (reference / "sokoban" / file).read_text().splitlines()]


def searched(env: Sokoban, row: np.ndarray, view: str = "full") -> Trace:
    return view_trace(
        View(VIEWS.index(view), 1.0, True), env, run_search(AStar(1, max_nodes=100_000), env, row, env.tree_nodes)
    )


def verdict_of(env: Sokoban, row: np.ndarray, text: str) -> Verdict:
    dialect = load_dialect("compact", env, 99, True)
    verdict, _, _ = verify_tokens(dialect, env, row, tokenize(dialect.vocab.tokenizer(), from_published(env, text)))
    return verdict


def test_published_traces_are_equal(reference: Path) -> None:
    tried, again = 0, 0
    for record in records(reference, "astar.jsonl")[: plain(None, 4)]:
        env = env_of(record)
        row = row_of(env, naive.level_of(record["level"]))
        cost = int(protocol.optimum(env, row, env.proof_work()))
        tried += 1
        if record["fixed"] is None:
            assert cost == -1
            continue
        trace = searched(env, row)
        fixed = record["fixed"]
        assert to_published(env, trace) == (record["prompt"], f"{fixed['trace']} {fixed['plan']}")
        assert to_published(env, searched(env, row, "plan_only")) == (record["prompt"], fixed["plan"])
        assert cost == record["optimal_steps"]
        kinds = trace.events[:, KIND]
        assert (kinds == Event.EXPAND).sum() == fixed["closes"]
        assert (kinds == Event.GENERATE).sum() + 1 == fixed["creates"]
        again += fixed["decrease_keys"] + fixed["reopened"]
    assert tried >= plain(33, 4)
    assert again > 0 or not plain(True, False)


@pytest.mark.slow
def test_published_traces_are_sound_in_whatever_order_they_were_made(reference: Path) -> None:
    tried = 0
    for record in records(reference, "astar.jsonl"):
        env = env_of(record)
        row = row_of(env, naive.level_of(record["level"]))
        for kind in ("fixed", "drawn"):
            if record[kind] is None:
                continue
            verdict = verdict_of(env, row, f"{record['prompt']} {record[kind]['trace']} {record[kind]['plan']}")
            assert not verdict.errors.any()
            assert verdict.solved
            assert verdict.plan_cost == record["optimal_steps"]
            tried += 1
    assert tried >= 60


@pytest.mark.slow
def test_published_answers_are_judged_as_they_should(reference: Path) -> None:
    """Whether the plan is one, whatever else is said; what cannot be read is none."""
    tried, fooled, sound = 0, 0, 0
    for record in records(reference, "verdicts.jsonl"):
        env = env_of(record)
        row, words = row_of(env, naive.level_of(record["level"])), record["answer"].split()
        whole = words[-1] == "eos"
        text = " ".join([record["prompt"], *words[1 : -1 if whole else None]])
        try:
            planned = verdict_of(env, row, text).planned and whole
        except UserError:
            planned = False
        assert planned == record["plan_valid"], record["damage"]
        fooled += record["published"].get("plan_correct", False) and not planned
        sound += planned
        tried += 1
    assert tried >= 45
    assert sound > 5
    assert fooled > 0


def test_words_read_back() -> None:
    env, tried = Sokoban(6, 6, 2, 1, 2), 0
    dialect = load_dialect("compact", env, 99, True)
    for row in sample_problems(env, make_splits(env, 0.2, 0.0), "train", plain(40, 2), seed=1):
        for view in ("full", "plan_only", "dose"):
            trace = searched(env, row, view)
            tokens, _, num_prompt = encode(dialect, trace)
            prompt, answer = to_published(env, trace)
            assert prompt == naive.prompt(level_of(env, row))
            assert from_published(env, f"{prompt} {answer}") == dialect.text(tokens)
            assert num_prompt < len(tokens)
            tried += 1
    assert tried == 3 * plain(40, 2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("create worker", "open worker"), "'open' stands where create, close or plan should"),
        (
            ("worker 3 1 box 2 2 dock", "robot 3 1 box 2 2 dock"),
            "'robot' stands where worker, box, dock or wall should",
        ),
        (("wall 0 0", "wall 0 9"), "'9' stands where a coordinate below 6 should"),
        (("close worker 3 1", "close worker 1 1"), "a search begins with close of another state than the level's"),
        (("close worker 2 1", "close worker 2 4"), "a state is closed that was not created: worker at cell 26"),
        (("plan 3 1", "plan 1 1"), "a plan begins at cell 7, and the worker at 9"),
    ],
)
def test_words_that_cannot_be_read_are_refused(changed: tuple[str, str], message: str) -> None:
    env = Sokoban(6, 6, 1, 1, 1)
    level = naive.level_of(["######", "#  @.#", "# $  #", "#    #", "##   #", "######"])
    text = " ".join(to_published(env, searched(env, row_of(env, level))))
    assert from_published(env, text)
    assert changed[0] in text
    with pytest.raises(UserError, match=message):
        from_published(env, text.replace(changed[0], changed[1], 1))


def test_pushes_and_dead_ends_have_no_words() -> None:
    level = naive.level_of(["######", "#  @.#", "# $  #", "#    #", "##   #", "######"])
    pushes = Sokoban(6, 6, 1, 1, 1, pushes=True)
    with pytest.raises(UserError, match=r"env\.pushes=true: the published words tell steps"):
        to_published(pushes, searched(pushes, row_of(pushes, level)))
    shown = Sokoban(6, 6, 1, 1, 1, show_dead_ends=True)
    with pytest.raises(UserError, match="the published words have none for the event DEAD_END"):
        to_published(shown, searched(shown, row_of(shown, level)))
