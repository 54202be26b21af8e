"""Rollouts as text: the verdict, a line for every event, the first mistake."""

from __future__ import annotations

from dataclasses import replace

import pytest
from drivers import run_search
from hand_made import (
    CONFIG,
    PERFECT,
    PROBLEM,
    hand_made,
    stream,
    teacher_stream,
)

from sos.config import DataConfig, StreamConfig
from sos.judge.evaluation import rollout_text
from sos.model.rollout import Rollout
from sos.stream.codec import encode_prompt
from sos.system import System, build_system


@pytest.fixture(scope="module")
def system() -> System:
    return build_system(CONFIG)


def text_lines(system: System, rollout: Rollout) -> tuple[str, list[str]]:
    """Return the verdict and the event lines of a rollout's text."""
    _, _, verdict, _, _, *lines, fence = rollout_text(system, PROBLEM, rollout.tokens).splitlines()
    assert fence == "```"
    return verdict, lines


def test_texts_say_whether_the_plan_is_right(system: System) -> None:
    planning = build_system(replace(CONFIG, stream=replace(CONFIG.stream, plan=True)))
    right, wrong = "plan 3 * 4 = 12 plan 2 + 12 = 14", "plan 3 * 4 = 12"
    for written, verdict, marked in (
        (f"{PERFECT} {right}", "**solved with 15 of 28 generated tokens, the plan is right**", True),
        (right, "**not solved, the plan is right**; ends as solved; no mistake", True),
        (f"{PERFECT} {wrong}", ", the plan is wrong**", False),
    ):
        text = rollout_text(planning, PROBLEM, stream(planning, written).tokens)
        assert verdict in text, text
        assert ("right plan\n" in text) == marked


def test_texts_mark_the_first_mistake_and_the_goal(system: System) -> None:
    solved, slip, unreadable, false_goal, cut = hand_made(system)
    verdict, lines = text_lines(system, solved)
    assert verdict == "Verdict: **solved with 15 of 16 generated tokens**; ends as solved; no mistake."
    assert [line.split(maxsplit=2)[0] for line in lines] == ["0", "1", "2", "3", "*", "5"]
    assert lines[1].endswith("3 * 4 = 12")
    assert lines[4].split() == ["*", "4", "!", "goal"]

    verdict, lines = text_lines(system, slip)
    assert verdict.endswith("ends as solved; 1 mistake, the first at event 1 (arithmetic).")
    assert [line for line in lines if "→" in line] == [lines[1]]
    assert lines[1].startswith("→   1  2 + 3 = 6 ")
    assert lines[1].endswith("← arithmetic")
    assert lines[-2].endswith("goal")

    verdict, lines = text_lines(system, unreadable)
    assert verdict == "Verdict: **not solved**; becomes unreadable; 1 mistake, the first at event 2 (malformed)."
    assert lines[2] == "→   2  [unreadable from here:] ] [  ← malformed"

    verdict, lines = text_lines(system, false_goal)
    assert lines[4].split() == ["→", "4", "!", "←", "false_goal"]
    assert not any(line.startswith("*") for line in lines)

    verdict, lines = text_lines(system, cut)
    assert verdict == "Verdict: **not solved**; never ends; no mistake."
    assert lines[1].split(maxsplit=1) == ["1", "2 + 3 ="]


def test_texts_show_anything(system: System) -> None:
    prompt = encode_prompt(system.dialect, PROBLEM)
    text = rollout_text(system, PROBLEM, [*prompt, -7, 2**40, *[5] * 30])
    assert "[unreadable from here:] <-7> <1099511627776> 2 2" in text
    assert "(and 8 more tokens)" in text
    assert "not solved" in rollout_text(system, PROBLEM, [])
    assert "unreadable" in rollout_text(system, PROBLEM, [9, 9])


def test_texts_of_the_published_wording_have_one_line_per_event() -> None:
    system = build_system(
        replace(CONFIG, stream=StreamConfig(dialect="sos", numbers="digits"), data=DataConfig(context=2048))
    )
    tokens, _, solved = teacher_stream(system, PROBLEM)
    assert solved
    trace = run_search(system.strategy, system.env, PROBLEM)
    text = rollout_text(system, PROBLEM, tokens)
    lines = text.split("```text\n")[1].split("\n```")[0].splitlines()
    assert len(lines) == len(trace.events)
    assert "no mistake" in text
    assert "Goal Reached" in lines[-2]
