"""Streams that say how they end: as they do, in the prompt, and nothing else of them changes; a prompt asks for a success."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from sizes import plain

from sos.compose import compose
from sos.config import config_from_dict, config_hash, to_dict
from sos.context.forms import read_context
from sos.data.splits import sample_problems
from sos.data.streams import StreamSource
from sos.datasets.source import build_source
from sos.errors import UserError
from sos.improve.pool import begun
from sos.judge.contexts import pose
from sos.schema.slot import SlotConfig
from sos.stream.codec import decode, encode_prompt
from sos.stream.text import annotate
from sos.stream.verify import verify_tokens
from sos.system import System, build_system

WORDS = ["experiment=smoke", "data.context=1000", "control=apart"]
NUM = plain(200, 30)


@cache
def made(*more: str) -> tuple[System, StreamSource]:
    config = compose([*WORDS, *more])
    system = build_system(config)
    source = build_source(config, system)
    assert isinstance(source, StreamSource)
    return system, source


def streams(source: Any, start: int, stop: int) -> dict[int, tuple[list[int], int]]:
    """By visit, the tokens of each stream and how many are its prompt."""
    chunk = source.chunk(start, stop)
    spans = zip(chunk.visits.tolist(), pairwise(chunk.offsets), chunk.prompts.tolist(), strict=True)
    return {visit: (chunk.tokens[a:b].tolist(), prompt) for visit, (a, b), prompt in spans}


@pytest.mark.parametrize("more", [(), ("data.num_problems=50",)])
def test_each_stream_says_how_it_ends_and_is_else_that_of_a_base_without_the_slot(more: tuple[str, ...]) -> None:
    system, source = made("slot=outcome", *more)
    bare, seen = streams(made(*more)[1], 0, NUM), []
    for visit, (tokens, prompt) in streams(source, 0, NUM).items():
        found = read_context(system.dialect, np.array(tokens))
        assert found.sound
        assert [tokens[0], *tokens[found.position :]] == bare[visit][0]
        assert prompt == bare[visit][1] + 3
        row = np.array(bare[visit][0])
        problem = _stated(system, row)
        solved = verify_tokens(system.dialect, system.env, problem, row)[0].solved
        assert [item.name for item in found.items] == [f"outcome:{'success' if solved else 'failure'}"]
        assert tokens[:prompt] == encode_prompt(system.dialect, problem, tokens[1:4])
        seen.append(solved)
    assert len(seen) == len(bare) == NUM
    assert 0.3 < np.mean(seen) < 0.75


def _stated(system: System, tokens: np.ndarray) -> np.ndarray:
    return decode(system.dialect, system.env, tokens).trace.problem


def test_a_share_of_streams_says_nothing_and_which_is_a_function_of_the_visit() -> None:
    system, source = made("slot=outcome", "slot.dropout=0.4")
    whole = streams(source, 0, NUM)
    says = [bool(read_context(system.dialect, np.array(tokens)).items) for tokens, _ in whole.values()]
    assert 0.4 < np.mean(says) < 0.8
    parts: dict[int, tuple[list[int], int]] = {}
    for start in (NUM // 2, 0):
        parts |= streams(source, start, start + NUM // 2)
    assert parts == whole


@pytest.mark.slow  # kernels of another environment
def test_a_search_through_everything_is_a_success_where_that_is_an_answer() -> None:
    config = compose(["experiment=sat", "stream.view=full", "slot=outcome"])
    system = build_system(config)
    refuted = set()
    for tokens, _ in streams(build_source(config, system), 0, plain(60, 6)).values():
        row = np.array(tokens)
        verdict = verify_tokens(system.dialect, system.env, _stated(system, row), row)[0]
        assert read_context(system.dialect, row).items[0].name == "outcome:success"
        assert verdict.solved
        refuted.add(bool(verdict.refuted))
    assert True in refuted


def test_a_prompt_asks_for_a_success_unless_it_is_said_otherwise() -> None:
    system, _ = made("slot=outcome")
    dialect = system.dialect
    problems = np.array([system.env.longest_problem()] * 2, np.int32)
    asked = {name: pose(system, "val", problems, name, 0) for name in ("none", "success", "failure")}
    assert {name: found.label for name, found in asked.items()} == {
        "none": "val",
        "success": "val.success",
        "failure": "val.failure",
    }
    for name, posed in asked.items():
        prompt = posed.prompts[1].tolist()
        said = read_context(dialect, posed.prompts[1])
        assert said.sound
        assert [item.name for item in said.items] == [f"outcome:{'failure' if name == 'failure' else 'success'}"]
        assert [prompt[0], *prompt[4:]] == encode_prompt(dialect, problems[1], ())
        assert posed.taken.tolist() == [3, 3]
    assert asked["none"].prompts[0].tolist() == encode_prompt(dialect, problems[0])
    assert (
        "outcome" not in annotate(dialect, system.env, problems[0], encode_prompt(dialect, problems[0])).split("\n")[0]
    )
    bare = made()[0].dialect
    assert encode_prompt(bare, problems[0]) == encode_prompt(bare, problems[0], ())


def test_an_answer_that_is_begun_stands_behind_what_asks_for_it() -> None:
    system, _ = made("slot=outcome")
    bare = made()[0]
    longer = 0
    for problem in _problems(system, plain(20, 4)):
        whole, part = begun(bare, problem, 0.9).tolist(), begun(system, problem, 0.9).tolist()
        assert [part[0], *part[4:]] == whole
        assert part[1:4] == list(system.dialect.slot.asks if system.dialect.slot else ())
        longer += len(whole) > len(encode_prompt(bare.dialect, problem))
    assert longer


def _problems(system: System, num: int) -> np.ndarray:
    return sample_problems(system.env, system.splits, "train", num, seed=4, solvable=True)


REFUSED = {
    "slot.kinds=[outcome,lesson]": r"slot.kinds=\[outcome,lesson\]: the outcome goes alone",
    "slot.misleading=0.1": r"slot.misleading=0.1 has no use with slot.kinds=\[outcome\]",
    "slot.follow=1": r"slot.follow=1 has no use with slot.kinds=\[outcome\]",
    "slot.lessons=2": "slot.lessons=2 has no use without lesson",
    "slot.lessons_from=others": r"slot.lessons_from=others needs slot.kinds=\[lesson\], got \[outcome\]",
    "eval.context=[none,lesson]": "the slot of this base has no lesson",
    "slot=none eval.context=[failure]": "this base has no context slot",
    "stream.view=swapped stream.plan=true": "goes without slot.kinds",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(words: str) -> None:
    with pytest.raises(UserError, match=REFUSED[words]) as error:
        compose(["experiment=smoke", "slot=outcome", *words.split()])
    assert "\n" not in str(error.value)


def test_records_of_before_keep_their_hash() -> None:
    for words in ([], ["slot=lesson"]):
        config = compose(["experiment=smoke", *words])
        before = to_dict(config)
        del before["slot"]["lessons_from"]
        assert config_hash(before) == config_hash(config) == config_hash(config_from_dict(before))
    assert SlotConfig().lessons_from == "own"
