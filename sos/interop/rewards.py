"""Rewards in the signatures of TRL, verl and OpenRLHF, all of them the scorer of `sos score`.

No text makes them raise, hang or run anything; a column that is missing or no problem raises a UserError that names it.
An answer without a mark (a closed `<answer>` or box, the goal of a written search) pays nothing, unless
`unmarked=True`.

    from sos.interop.rewards import Reward, compute_score, reward_func
    GRPOTrainer(..., reward_funcs=Reward("rationals"))        # TRL: columns nums (or numbers) and target
    custom_reward_function.path=.../sos/interop/rewards.py    # verl: compute_score; reward_kwargs: rules, format_score
    --remote_rm_url .../sos/interop/rewards.py                # OpenRLHF: reward_func; labels are JSON
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sos.errors import UserError
from sos.interop.answers.judge import Rules, Score, rules_named
from sos.interop.answers.reader import is_tagged
from sos.interop.tasks import Task, problem_of

_PROMPTS = ("<|im_start|>assistant", "<|start_header_id|>assistant<|end_header_id|>", "<|assistant|>", "Assistant:")
_QUESTIONS = ("<|im_start|>user", "<|start_header_id|>user", "<|user|>", "User:")


def as_rules(rules: str | Rules, *, unmarked: bool = False, any_order: bool = False) -> Rules:
    """Return rules by name, or as they are, with whether unmarked answers and any order count."""
    found = rules_named(rules) if isinstance(rules, str) else rules
    return replace(found, unmarked=unmarked, any_order=any_order or found.any_order)


def text_of(completion: Any) -> str:
    """Return the text of a completion: itself, or of messages what the assistant said last, its parts joined; empty
    for anything else, such as a call of a tool."""
    if isinstance(completion, str):
        return completion
    if isinstance(completion, Mapping):
        completion = [completion]
    if not isinstance(completion, Sequence):
        return ""
    said = [m for m in completion if isinstance(m, Mapping) and m.get("role", "assistant") == "assistant"]
    content = said[-1].get("content") if said else None
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, Sequence) else []
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    return "".join(text for text in texts if isinstance(text, str))


class Reward:
    """A reward function for TRL's trainers: `reward(prompts=..., completions=..., **columns)` gives a list of floats.

    `rules` is a name of `RULES` or a `Rules`. `right`, `wrong` and `tagged` are what is paid: `tagged` to a wrong
    answer in a closed `<answer>`. With a `task` the columns are the fields of its problems (`sos export` writes them)
    and completions are judged by it: streams where it has a dialect, answers otherwise. With `tokens` it judges the
    column `completion_ids`, tokens of the task's dialect, and not the text.
    """

    def __init__(
        self,
        rules: str | Rules = "sos",
        *,
        task: Task | None = None,
        right: float = 1.0,
        wrong: float = 0.0,
        tagged: float | None = None,
        unmarked: bool = False,
        any_order: bool = False,
        tokens: bool = False,
    ) -> None:
        self.tokens = tokens
        self.rules = as_rules(rules, unmarked=unmarked, any_order=any_order)
        self.task = task or Task()
        self.right = right
        self.wrong = wrong
        self.tagged = wrong if tagged is None else tagged
        self.__name__ = f"sos_{rules}" if isinstance(rules, str) else "sos"

    def scores(self, completions: Sequence[Any], **columns: Any) -> list[Score]:
        """Return a verdict for each completion; column i is the problem of completion i. Raises UserError."""
        texts = [text_of(completion) for completion in completions]
        if self.tokens:
            ids = columns.get("completion_ids")
            if ids is None or len(ids) != len(texts):
                raise UserError("completion_ids is missing: tokens=True judges them")
            rows = [_row(columns, i, len(texts)) for i in range(len(texts))]
            return [self.task.score_tokens(self.task.problem(row), ids[i]) for i, row in enumerate(rows)]
        return [self.task.score_text(_row(columns, i, len(texts)), texts[i], self.rules) for i in range(len(texts))]

    def __call__(self, prompts: Any = None, completions: Any = None, **columns: Any) -> list[float]:
        """Return a reward for each completion. Columns that say nothing of the problem are ignored. Raises
        UserError."""
        if completions is None:
            raise UserError("completions is missing")
        scores = self.scores(completions, **columns)
        return [self.value(score, completion) for score, completion in zip(scores, completions, strict=True)]

    def value(self, score: Score, completion: Any) -> float:
        """Return what a verdict pays."""
        if score.value or self.tagged == self.wrong:
            return self.right if score.value else self.wrong
        return self.tagged if is_tagged(text_of(completion)) else self.wrong


def _row(columns: Mapping[str, Any], i: int, num: int) -> dict[str, Any]:
    """Return what the columns say of sample i; what is no column of this length is left out."""
    row: dict[str, Any] = {}
    for name, column in columns.items():
        if name in ("completion_ids", "trainer_state", "log_extra", "log_metric"):
            continue
        sized = hasattr(column, "__len__") and not isinstance(column, (str, bytes, Mapping))
        if sized and len(column) == num:
            row[name] = column[i]
    if isinstance(row.get("ground_truth"), (Mapping, str)):
        row |= truth_of(row["ground_truth"])
    return row


def truth_of(ground_truth: Any) -> dict[str, Any]:
    """Return the fields of a problem from a ground truth or label: a mapping, or its JSON. Raises UserError."""
    if isinstance(ground_truth, str):
        try:
            ground_truth = json.loads(ground_truth)
        except (ValueError, RecursionError):
            raise UserError(f"ground_truth must be fields of a problem, got {str(ground_truth)[:60]!r}") from None
    if not isinstance(ground_truth, Mapping):
        raise UserError(f"ground_truth must be fields of a problem, got {str(ground_truth)[:60]!r}")
    return dict(ground_truth)


def response_of(text: str, prompt: str | None = None) -> str:
    """Return a text without the prompt in front of it: `prompt` if it starts with it, otherwise all up to the
    assistant's turn where a user's turn comes before any answer. A text that is a response alone stays."""
    if prompt is not None and text.startswith(prompt):
        return text[len(prompt) :]
    asked = min((place for place in (text.find(mark) for mark in _QUESTIONS) if place >= 0), default=-1)
    closed = min((place for place in (text.find(mark) for mark in ("</think>", "</answer>")) if place >= 0), default=-1)
    if asked < 0 or 0 <= closed < asked:
        return text
    ends = [place + len(mark) for mark in _PROMPTS if (place := text.find(mark, asked)) >= 0]
    return text[min(ends) :] if ends else text


def compute_score(
    data_source: Any = None,
    solution_str: Any = None,
    ground_truth: Any = None,
    extra_info: Any = None,
    *,
    rules: str | Rules = "sos",
    score: float = 1.0,
    format_score: float = 0.1,
    **options: Any,
) -> float:
    """Return the reward of one response, as verl calls it: `score` if it is right, `format_score` if it is not but has
    a closed answer tag, else 0.

    `ground_truth` is a mapping with target and numbers (or nums), as `sos export columns=verl` writes it, or its JSON.
    TinyZero's order of arguments, (solution_str, ground_truth), is understood, too. `any_order` and `unmarked` are
    options as in `Reward`; others are ignored. Raises UserError that names a field.
    """
    if ground_truth is None and isinstance(solution_str, Mapping):
        data_source, solution_str, ground_truth = None, data_source, solution_str
    truth = truth_of(ground_truth)
    numbers, target = problem_of(truth, "ground_truth: ")
    chosen = {name: bool(options[name]) for name in ("unmarked", "any_order") if name in options}
    text = response_of(text_of(solution_str))
    verdict = Task().score_text({"nums": numbers, "target": target}, text, as_rules(rules, **chosen))
    if verdict.value:
        return score
    return format_score if is_tagged(text) else 0.0


def reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **options: Any
) -> dict[str, Any]:
    """Return rewards and scores, float32 tensors (B,), as OpenRLHF asks for them: a query is prompt and response, a
    label the JSON of the problem, such as `{"nums": [3, 4], "target": 7}`. Raises UserError."""
    import torch

    truths = [truth_of(label) for label in labels]
    responses = [response_of(query, prompt) for query, prompt in zip(queries, prompts, strict=True)]
    rules = as_rules(options.get("rules", "sos"))
    scores = [Task().score_text(truth, text, rules) for truth, text in zip(truths, responses, strict=True)]
    values = torch.tensor([score.value for score in scores], dtype=torch.float32)
    tagged = torch.tensor([float(is_tagged(text)) for text in responses])
    return {"rewards": values, "scores": values, "extra_logs": {"right": values, "tagged": tagged}}
