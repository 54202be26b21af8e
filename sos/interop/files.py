"""Anybody's answers in JSON lines, judged one by one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sos.errors import UserError, visible
from sos.interop.answers.judge import Rules, Score
from sos.interop.rewards import response_of, text_of, truth_of
from sos.interop.tasks import Task

TEXTS = ("text", "completion", "response", "solution_str", "output", "answer")
_TRUTHS = ("ground_truth", "reward_model", "metadata")
_SHOWN = 70  # characters of an answer in a list


class Judged(NamedTuple):
    """A line and its verdict."""

    file: str
    line: int
    row: dict[str, Any]
    score: Score


def judged_lines(files: Sequence[str], task: Task, rules: Rules, text: str | None = None) -> Iterator[Judged]:
    """Judge every line of the files; `text` names the field of the answer, by default the first of `TEXTS` that is
    there.

    Raises UserError with file and line for what is no JSON object, lacks a field or is no problem, and for a file
    without lines.
    """
    for file in files:
        num = 0
        with open(file, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                where = f"{file}, line {number}: "
                row = _object(line, where)
                try:
                    score = task.score_text(_problem(row), _answer(row, text), rules)
                except UserError as error:
                    raise UserError(f"{where}{error}") from error
                yield Judged(file, number, row, score)
                num += 1
        if not num:
            raise UserError(f"{file}: nothing in it")


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}not JSON: {str(error).splitlines()[0][:100]}") from error
    if not isinstance(row, dict):
        raise UserError(f"{where}not an object, but {str(row)[:40]!r}")
    return row


def _problem(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of the problem, which may lie in the ground truth that verl and others have."""
    for name in _TRUTHS:
        if name in row and "target" not in row:
            inner = truth_of(row[name])
            return {**row, **(truth_of(inner["ground_truth"]) if "ground_truth" in inner else inner)}
    return row


def _answer(row: Mapping[str, Any], name: str | None) -> str:
    found = next((key for key in ((name,) if name else TEXTS) if key in row), None)
    if found is None:
        raise UserError(f"{name or ' or '.join(TEXTS)} is missing: the field of the answer")
    value = row[found]
    if value is not None and not isinstance(value, (str, list, dict)):
        raise UserError(f"{found} must be a text or messages, got {str(value)[:40]!r}")
    return response_of(text_of(value)) if found == "solution_str" else text_of(value)


@dataclass
class Tally:
    """What was found, in all and by the values of one field."""

    by: str | None = None
    errors: int = 10
    num: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, judged: Judged) -> None:
        """Count a line. Raises UserError where the field to group by is missing."""
        score = judged.score
        if self.by is not None and self.by not in judged.row:
            raise UserError(f"{judged.file}, line {judged.line}: {self.by} is missing: the field of by={self.by}")
        group = "" if self.by is None else str(judged.row[self.by])[:40]
        self.num[group] += 1
        self.right[group] += score.value > 0
        self.reasons[score.reason] += 1
        self.marks[score.mark] += 1
        if not score.value and len(self.wrong) < self.errors:
            shown = f": {visible(score.answer[:_SHOWN])}" if score.answer else ""
            self.wrong.append(f"{judged.file}, line {judged.line}, character {score.position}: {score.message}{shown}")

    def report(self, rules: str) -> str:
        """Return the tables and the first wrong answers."""
        num, right = self.num.total(), self.right.total()
        lines = [f"{num} answers by the rules {rules}: {right} right ({100 * right / num:.1f}%)", ""]
        for title, counts in (("verdict", self.reasons), ("marked by", self.marks)):
            width = max(len(title), *map(len, counts))
            lines += [f"{title:<{width}}  answers", *(f"{n:<{width}}  {c:>7}" for n, c in counts.most_common()), ""]
        if self.by is not None:
            width = max(len(self.by), *map(len, self.num))
            lines.append(f"{self.by:<{width}}  answers    right      %")
            for group, count in sorted(self.num.items()):
                share = 100 * self.right[group] / count
                lines.append(f"{visible(group):<{width}}  {count:>7}  {self.right[group]:>7}  {share:>5.1f}")
            lines.append("")
        if self.wrong:
            lines += [f"wrong, the first {len(self.wrong)} of {num - right}:", *self.wrong]
        return "\n".join(lines).rstrip()


def score_line(judged: Judged) -> str:
    """Return the verdict on a line as a JSON line."""
    score = judged.score
    fields = {
        "file": Path(judged.file).name,
        "line": judged.line,
        "score": score.value,
        "reason": score.reason,
        "message": score.message,
        "position": score.position,
        "answer": score.answer,
        "mark": score.mark,
        "faults": list(score.faults),
        "needs": None if score.needs is None else list(score.needs),
        "needs_any_order": None if score.needs_any_order is None else list(score.needs_any_order),
    }
    return json.dumps(fields)
