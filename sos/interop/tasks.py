"""Answers to the problems of any environment: tokens of a stream, its text, or a list of actions in free text.

A stream is judged as everywhere here: solved where its first goal is reached by sound steps (`sos.stream.verify`). An
answer in free text is the list of actions from the first to the goal, as the column `solution` of `sos export` holds
them: numbers, an action after the other, costs and estimates left out where the environment can tell them. Of Sudoku
it is the whole grid, too. Of Countdown it is an expression or steps, see `sos.interop.answers`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sos.envs import protocol as environment
from sos.envs.words import Words, words_of
from sos.errors import UserError
from sos.interop.answers.judge import RULES, Rules, Score, score_text
from sos.interop.answers.reader import STREAM, UNMARKED, Span, marked_span
from sos.stream.codec import DecodeStatus, encode_prompt
from sos.stream.dialect.compile import Dialect
from sos.stream.dialect.vocab import BOS, EOS, PAD, SPECIALS, Vocabulary
from sos.stream.verify import Error, verify_tokens

MOST_NUMBERS = 100_000  # in a list of actions
_NUMBER = re.compile(r"[0-9]+")
_LIST = re.compile(r"[\s0-9,;|()\[\]'\"`$*]|->|→|plan|\+|\.(?![0-9])")
_GRID_MOVE = re.compile(r"\br([0-9])c([0-9])\s{0,8}=?\s{0,8}(?=[0-9])")  # r1c2 = 5
_SEPARATOR = re.compile(r"[,;|\n]|->|→|\)\s*\(")


class Task:
    """An environment, and the dialect that streams are written in; without an environment it is Countdown of any size
    in free text."""

    def __init__(self, env: Any = None, dialect: Dialect | None = None, rules: Rules = RULES["sos"]) -> None:
        self.env = env
        self.dialect = dialect
        self.rules = rules

    @classmethod
    def of(cls, *words: str, streams: bool = True) -> Task:
        """Return the task that words of train.py describe, such as "env=maze" and "stream.dialect=compact"; without
        `streams` it has no dialect. Raises UserError."""
        from sos.compose import compose
        from sos.system import build_dialect, build_env

        config = compose(list(words))
        env = build_env(config)
        if not streams:
            return cls(env)
        return cls(env, build_dialect(config, env))

    @classmethod
    def of_run(cls, place: str | Path) -> Task:
        """Return the task of a run folder or a checkpoint. Raises UserError."""
        from sos.runs.checkpoint import config_of, load_checkpoint
        from sos.runs.folder import checkpoint_of
        from sos.system import build_system

        system = build_system(config_of(load_checkpoint(checkpoint_of(Path(place)))))
        return cls(system.env, system.dialect)

    @cached_property
    def words(self) -> Words:
        """The words of the environment."""
        return words_of(self.env)

    @property
    def is_countdown(self) -> bool:
        """Whether free text is an expression."""
        return self.env is None or "nums" in self.words.problem_fields

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return token_pattern(self._needed().vocab)

    def _needed(self) -> Dialect:
        if self.dialect is None:
            raise UserError("streams are read in a dialect: name one, such as stream.dialect=compact")
        return self.dialect

    def problem(self, record: Mapping[str, Any]) -> np.ndarray:
        """Return the row of a problem, int32 (P,), of the fields that `sos export` writes. Raises UserError."""
        fields = {name: _plain(record[name]) for name in self.words.problem_fields if name in record}
        if missing := [name for name in self.words.problem_fields if name not in fields]:
            raise UserError(f"{missing[0]} is missing: a problem has {', '.join(self.words.problem_fields)}")
        return self.words.row_of_record(fields)

    def score_tokens(self, problem: np.ndarray, tokens: Any) -> Score:
        """Judge token ids, with or without the problem's statement in front. The position is a token's."""
        dialect = self._needed()
        ids = [token if 0 <= token < len(dialect.vocab) else PAD for token in map(int, tokens)]
        prompt = encode_prompt(dialect, problem)
        if ids[: len(prompt)] != prompt:
            ids = (prompt if ids[: len(prompt) - 1] != prompt[1:] else [BOS]) + ids
        verdict, _, align = verify_tokens(dialect, self.env, problem, ids)
        if verdict.solved:
            return Score(1.0, "right", "solved", 0, mark=STREAM)
        wrong = np.flatnonzero(verdict.errors)
        if len(wrong):
            name = Error(int(verdict.errors[wrong[0]])).name.lower()
            place = int(np.flatnonzero(align == wrong[0])[0]) if (align == wrong[0]).any() else -1
            return Score(0.0, name, f"event {wrong[0]} is wrong: {name}", place, mark=STREAM, faults=(name,))
        if verdict.status in (DecodeStatus.MALFORMED, DecodeStatus.NO_PROMPT):
            return Score(0.0, "malformed", "it cannot be read", len(align), mark=STREAM, faults=("malformed",))
        return Score(0.0, "no_goal", "it reaches no goal", len(ids), mark=STREAM, faults=("no_goal",))

    def score_stream(self, problem: np.ndarray, text: str) -> Score:
        """Judge the text of a stream, with or without the problem's statement in front."""
        ids, stopped = text_tokens(self._pattern, self._needed().vocab, text)
        return self.score_tokens(problem, ids + ([EOS] if stopped < 0 else [PAD]))

    def score_text(self, record: Mapping[str, Any], text: str, rules: Rules | None = None) -> Score:
        """Judge free text: a marked answer; otherwise, with a dialect, the text of a stream; otherwise the whole text.

        Raises UserError for a record that is no problem; never for what stands in the text.
        """
        rules = rules or self.rules
        if self.is_countdown and self.dialect is None:
            numbers, target = problem_of(record)
            return score_text(text, numbers, target, rules)
        problem = self.problem(record)
        span, mark = marked_span(text)
        if span is None and self.dialect is not None:
            streamed = self.score_stream(problem, text)
            if streamed.value or not self.is_countdown:
                return streamed
        if self.is_countdown:
            return score_text(text, *problem_of(record), rules)
        if span is None and (mark != UNMARKED or not rules.unmarked):
            return Score(0.0, "no_answer", "no answer: it is not marked", -1, mark=mark, faults=("no_answer",))
        return self._score_actions(problem, text, span or Span(0, len(text)), mark)

    def _score_actions(self, problem: np.ndarray, text: str, span: Span, mark: str) -> Score:
        actions = self._actions(problem, text[span.start : span.end])
        if actions is None:
            why = "no answer: it is no list of actions"
            return Score(0.0, "no_answer", why, span.start, mark=mark, faults=("no_answer",))
        state = np.zeros(self.env.state_width, np.int32)
        environment.root_state(self.env, problem, state)
        for k, action in enumerate(actions):
            child = np.zeros_like(state)
            row = np.array(action, np.int32)
            if len(action) < self.env.action_width:
                row = np.zeros(self.env.action_width, np.int32)
                row[: len(action)] = action
                environment.complete(self.env, problem, state, row)
            judged = environment.judge(self.env, problem, state, row, child)
            if judged != environment.HOLDS:
                name = "operand" if judged == environment.NOT_HELD else "illegal"
                name = "wrong_step" if judged == environment.WRONG_RESULT else name
                return Score(0.0, name, f"action {k + 1} is wrong: {name}", span.start, mark=mark, faults=(name,))
            state = child
        if environment.status(self.env, problem, state) == environment.GOAL:
            return Score(1.0, "right", "right", span.start, mark=mark)
        return Score(0.0, "no_goal", "the actions do not reach the goal", span.start, mark=mark, faults=("no_goal",))

    def _actions(self, problem: np.ndarray, text: str) -> list[list[int]] | None:
        """Return the actions that a text lists, each of all its numbers or of those before the facts; None: it is no
        list."""
        if (grid := self._grid_actions(problem, text)) is not None:
            return grid
        text = _GRID_MOVE.sub(r"\1\2 ", text)
        if _LIST.sub("", text) or len(found := _NUMBER.findall(text)) > MOST_NUMBERS or not found:
            return None
        if any(len(number) > 9 for number in found):
            return None
        width = self.env.action_width
        short = width - len(getattr(self.env, "facts", ()))
        groups = [[int(n) for n in _NUMBER.findall(part)] for part in _SEPARATOR.split(text)]
        groups = [group for group in groups if group]
        root = np.zeros(self.env.state_width, np.int32)
        environment.root_state(self.env, problem, root)
        if len(groups) == 1 and len(groups[0]) > width:
            groups = [groups[0][k : k + short] for k in range(0, len(groups[0]), short)]
        if len(groups) > 1 and groups[0] == root[: len(groups[0])].tolist():
            groups = groups[1:]  # the path names where it starts
        return groups if all(len(group) in (short, width) for group in groups) else None

    def _grid_actions(self, problem: np.ndarray, text: str) -> list[list[int]] | None:
        """Return the moves that fill the empty cells as a whole grid says, for the environments with a grid."""
        if self.words.problem_fields != {"grid": "text"}:
            return None
        given = self.words.problem_record(problem)["grid"]
        digits = re.sub(r"[\s|+,\-]", "", text)
        if len(digits) != len(given) or not (digits.isascii() and digits.isdigit()):
            return None
        size = int(len(given) ** 0.5)
        moves = [[10 * (k // size + 1) + k % size + 1, int(digits[k])] for k in range(len(given)) if given[k] == "0"]
        kept = all(a in ("0", b) for a, b in zip(given, digits, strict=True))
        return moves if kept else [[0, 0]]


def problem_of(record: Mapping[str, Any], where: str = "") -> tuple[list[int], int]:
    """Return the numbers (`nums` or `numbers`) and the target of a Countdown problem. Raises UserError that names the
    field."""
    name = next((name for name in ("nums", "numbers") if record.get(name) is not None), None)
    if name is None:
        raise UserError(f"{where}nums is missing: a problem has nums (or numbers) and target")
    if record.get("target") is None:
        raise UserError(f"{where}target is missing: a problem has {name} and target")
    numbers = _plain(record[name])
    if not isinstance(numbers, (list, tuple)) or not numbers:
        raise UserError(f"{where}{name} must be a list of whole numbers, got {str(numbers)[:60]!r}")
    return [_whole(number, f"{where}{name}", 0) for number in numbers], _whole(record["target"], f"{where}target", None)


def _plain(value: Any) -> Any:
    """Return arrays and tensors as lists and numbers."""
    return value.tolist() if hasattr(value, "tolist") else value


def _whole(value: Any, where: str, low: int | None) -> int:
    value = _plain(value)
    whole = (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, float) and value.is_integer()
    )
    if not whole or (low is not None and value < low):
        kind = "whole numbers from 0 on" if low == 0 else "a whole number"
        raise UserError(f"{where} must be {kind}, got {str(value)[:60]!r}")
    return int(value)


def token_pattern(vocab: Vocabulary) -> re.Pattern[str]:
    """Return the pattern of one token of a vocabulary in a text: special tokens, the longest symbol first, numbers."""
    symbols = [re.escape(s) for s in sorted((*SPECIALS, *vocab.symbols), key=len, reverse=True)]
    return re.compile("|".join([*symbols, "[0-9]+", *([r"\s+"] if vocab.spaced else [])]))


def text_tokens(pattern: re.Pattern[str], vocab: Vocabulary, text: str) -> tuple[list[int], int]:
    """Return the token ids of a text up to the first place without a token, and that place, -1 where there is none."""
    ids: list[int] = []
    place = 0
    while place < len(text):
        match = pattern.match(text, place)
        if match is None:
            return ids, place
        word = match[0]
        if word in vocab.ids:
            ids.append(vocab.ids[word])
        elif not word.isspace():
            ids += [vocab.ids[digit] for digit in word]
        place = match.end()
    return ids, -1
