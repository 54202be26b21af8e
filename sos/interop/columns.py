"""The columns of `sos export`: as they are, and as TRL's trainers and verl read them.

- `rows`: visit, the fields of the problem, what the search found, and its text.
- `prompt`: `prompt` and `completion`, texts that joined by `<bos>` in front and `<eos>` behind are the stream, so that
  SFTTrainer learns the completion alone; the fields of the problem, for a reward.
- `chat`: the same two as messages: the task in words, and the search within `<think>` with the solution in `<answer>`.
- `verl`: data_source, prompt (messages), ability, reward_model (ground_truth: the fields of the problem), extra_info.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from sos.envs.words import Words

Row = dict[str, Any]
MESSAGES: list[dict[str, str]] = [{"role": "text", "content": "text"}]
# What a column holds: int, bool, text; ints, tokens, texts; a mapping of such; a list of such a mapping.
Kind = str | dict[str, Any] | list[dict[str, str]]

_MOVE = re.compile(r"r(\d)c(\d) = (\d)")
_STEP = re.compile(r"(\d+)([-+*/])(\d+)=(\d+)")


def columns_of(form: str, words: Words, first: dict[str, Kind], last: dict[str, Kind]) -> dict[str, Kind]:
    """Return the columns of a form, one of `FORMS`, in their order, and what each holds."""
    fields: dict[str, Kind] = dict(words.problem_fields)
    if form == "verl":
        truth = dict(fields) | ({"numbers": "ints"} if "nums" in fields else {})
        return {
            "data_source": "text",
            "prompt": MESSAGES,
            "ability": "text",
            "reward_model": {"style": "text", "ground_truth": truth},
            "extra_info": {"index": "int", "split": "text", "strategy": "text", "solved": "bool"},
        }
    kind: Kind = "text" if form == "prompt" else MESSAGES
    shown = {} if form == "rows" else {"prompt": kind, "completion": kind}
    kept = last if form == "rows" else {"solution": "texts"}
    return {**first, **fields, "strategy": "text", "solved": "bool", **shown, **kept}


FORMS = ("rows", "prompt", "chat", "verl")


class Texts(NamedTuple):
    """A stream in parts: the statement of the problem, what follows it, and both."""

    prompt: str
    completion: str
    whole: str


def in_form(form: str, row: Row, texts: Texts, task: str, split: str) -> Row:
    """Return a row of a form other than `rows`. `row` holds visit, strategy, solved, solution and the fields of the
    problem under `problem`; `task` says the problem in words."""
    fields = row["problem"]
    if form == "prompt":
        shown: Row = {"prompt": texts.prompt, "completion": texts.completion}
    else:
        question = [{"role": "user", "content": question_of(fields, task)}]
        if form == "verl":
            truth = fields | ({"numbers": fields["nums"]} if "nums" in fields else {})
            about = {"index": row["visit"], "split": split, "strategy": row["strategy"], "solved": row["solved"]}
            return {
                "data_source": "sos",
                "prompt": question,
                "ability": "search",
                "reward_model": {"style": "rule", "ground_truth": truth},
                "extra_info": about,
            }
        answer = f"\n<answer>{answer_of(fields, row['solution'])}</answer>" if row["solved"] else ""
        content = f"<think>\n{texts.whole.strip()}\n</think>{answer}"
        shown = {"prompt": question, "completion": [{"role": "assistant", "content": content}]}
    first = {"visit": row["visit"], **fields, "strategy": row["strategy"], "solved": row["solved"]}
    return {**first, **shown, "solution": row["solution"]}


def question_of(fields: Row, task: str) -> str:
    """Return a problem as a question that asks for an answer tag."""
    how = "List the steps to the goal, one after the other, with commas between them,"
    if "nums" in fields:
        how = "Use each number exactly once and only + - * /. Write the expression"
    elif "grid" in fields:
        how = "Write the whole grid row by row"
    return f"{task[0].upper()}{task[1:]}. {how} in <answer> </answer> tags."


def answer_of(fields: Row, solution: list[str]) -> str:
    """Return a solution as an answer in free text: of Countdown's steps one expression, of a grid the whole grid, of
    others the actions."""
    if "grid" in fields:
        return _filled(fields["grid"], solution)
    steps = [_STEP.fullmatch(step) for step in solution]
    if not steps or not all(steps):
        return ", ".join(solution)
    held: list[tuple[int, str]] = []  # results that no later step has taken yet, with their expressions

    def taken(number: str) -> str:
        for k in range(len(held) - 1, -1, -1):
            if held[k][0] == int(number):
                return f"({held.pop(k)[1]})"
        return number

    for step in steps:
        assert step is not None
        a, operator, b, result = step.groups()
        left = taken(a)
        held.append((int(result), f"{left} {operator} {taken(b)}"))
    return held[-1][1]


def _filled(grid: str, moves: list[str]) -> str:
    """Return a grid with the moves `r1c2 = 3` in it, a line for each row."""
    size = int(len(grid) ** 0.5)
    digits = list(grid)
    for move in moves:
        place = _MOVE.fullmatch(move)
        assert place is not None, move
        digits[(int(place[1]) - 1) * size + int(place[2]) - 1] = place[3]
    return "\n".join("".join(digits[k : k + size]) for k in range(0, len(digits), size))
