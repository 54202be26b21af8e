r"""Where the answer of a text stands: in its last closed `<answer>`, its last closed `\boxed`, at the goal of a written
search, or, without any mark, in its last expression or equation.

Nothing inside `<think>` counts, nor what comes before a `</think>` that the prompt opened. A tag or box that is not
closed marks nothing. Of tags within tags the innermost counts. What is marked must be an expression, an equation or a
list of steps as a whole. Every step is linear in the length of the text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import NamedTuple

from sos.interop.answers.arithmetic import Malformed
from sos.interop.answers.statements import Statement, read_freely, read_strictly
from sos.interop.answers.tokens import LINE, Token, tokens_of

MOST_CHARACTERS = 2_000_000  # of a text that is read
TAG, BOX, STREAM, UNMARKED = "tag", "box", "stream", "unmarked"

_TAG = re.compile(r"<\s{0,8}(/?)\s{0,8}(think|answer)\s{0,8}>", re.IGNORECASE)
_BRACE = re.compile(r"\\(?:boxed|fbox)[ ]{0,8}\{|\\.|[{}]", re.DOTALL)
_BOX_OPENS = re.compile(r"(?:\$|\\[(\[]|\s){0,8}\\(?:boxed|fbox)[ ]{0,8}\{$")
_GOAL = re.compile(r"^[0-9]{1,100},[0-9]{1,100} equal: Goal Reached", re.MULTILINE)
_SEARCH = re.compile(r"^(?:Exploring Operation: |Current State: [0-9]{1,100}:\[)", re.MULTILINE)
_OPTIONS = re.compile(r"\boption\s{1,8}\w", re.IGNORECASE)
_BEFORE_BOX = 2_000  # characters of a line that are read before the box of a result


class Span(NamedTuple):
    """A part of the text."""

    start: int
    end: int


class Found(NamedTuple):
    """What a text says: steps and a final statement, and what marks it."""

    statements: list[Statement]
    mark: str
    span: Span


class NoAnswer(NamedTuple):
    """That a text says nothing which can be judged: why, and where in the text; `mark` as in `Found`."""

    reason: str
    place: int
    mark: str


def read_answer(text: str) -> Found | NoAnswer:
    """Return the answer of a text. Never raises for its contents."""
    if len(text) > MOST_CHARACTERS:
        return NoAnswer("too_long", MOST_CHARACTERS, UNMARKED)
    spoken, tags, unclosed = _tags(text)
    if tags:
        return _marked(text, tags[-1], TAG)
    box, open_box = _last_box(text, spoken)
    if box is not None:
        return _boxed(text, box, spoken[0])
    if max(unclosed, open_box) >= 0:
        return NoAnswer("unclosed", max(unclosed, open_box), TAG if unclosed >= 0 else BOX)
    if _SEARCH.search(text):
        return _searched(text)
    return _unmarked(text, spoken)


def marked_span(text: str) -> tuple[Span | None, str]:
    """Return the content of the last closed tag, else of the last closed box, and which of both; without any None, and
    `TAG` or `BOX` where one is not closed, `TAG` where the text is too long, else `UNMARKED`."""
    if len(text) > MOST_CHARACTERS:
        return None, TAG
    spoken, tags, unclosed = _tags(text)
    if tags:
        return tags[-1], TAG
    box, open_box = _last_box(text, spoken)
    if box is not None or open_box >= 0:
        return box, BOX
    return None, TAG if unclosed >= 0 else UNMARKED


def is_tagged(text: str) -> bool:
    """Say whether a text has a closed answer tag outside its thinking."""
    return len(text) <= MOST_CHARACTERS and bool(_tags(text)[1])


def _tags(text: str) -> tuple[list[Span], list[Span], int]:
    """Return what is said aloud (always one span at least), the contents of the closed innermost answer tags, and the
    place of a tag that was opened last and not closed, or -1."""
    spoken: list[Span] = []
    tags: list[Span] = []
    start, thinking, opened, first = 0, False, -1, True
    for match in _TAG.finditer(text):
        closes, name = bool(match[1]), match[2].lower()
        if name == "think":
            if not closes and not thinking:
                spoken.append(Span(start, match.start()))
                thinking, opened = True, -1
            elif closes and thinking:
                start, thinking = match.end(), False
            elif closes and first:  # the prompt opened it
                spoken, tags, start, opened = [], [], match.end(), -1
            first = False
        elif not thinking and not closes:
            opened = match.end()
        elif not thinking and opened >= 0:
            tags.append(Span(opened, match.start()))
            opened = -1
    spoken.append(Span(len(text), len(text)) if thinking else Span(start, len(text)))
    return spoken, tags, opened


def _last_box(text: str, spoken: list[Span]) -> tuple[Span | None, int]:
    """Return the content of the last closed box that is said aloud, or None, and the place of one that is not closed,
    or -1."""
    boxes, opened = _boxes(text, spoken[0].start, len(text))
    last = next((box for box in reversed(boxes) if _is_spoken(spoken, box)), None)
    return last, opened if opened >= 0 and _is_spoken(spoken, Span(opened, opened)) else -1


def _is_spoken(spoken: list[Span], part: Span) -> bool:
    """Say whether one of the spans, which are in order, holds the part."""
    k = bisect_right(spoken, part.start, key=lambda span: span.start) - 1
    return k >= 0 and part.end <= spoken[k].end


def _boxes(text: str, start: int, end: int) -> tuple[list[Span], int]:
    """Return the contents of the closed innermost boxes in a part of the text, and the place of the last box that is
    not closed, or -1."""
    found: list[Span] = []
    stack: list[tuple[int, bool]] = []  # where a brace opened (-1: no box), and whether a box closed within it
    for match in _BRACE.finditer(text, start, end):
        if match[0].startswith(("\\boxed", "\\fbox")):
            stack.append((match.end(), False))
        elif match[0] == "{":
            stack.append((-1, False))
        elif match[0] == "}" and stack:
            opened, inner = stack.pop()
            if opened >= 0 and not inner:
                found.append(Span(opened, match.start()))
            if stack and (inner or opened >= 0):
                stack[-1] = (stack[-1][0], True)
    return found, next((opened for opened, _ in reversed(stack) if opened >= 0), -1)


def _marked(text: str, span: Span, mark: str) -> Found | NoAnswer:
    """Read what stands in a tag or a box; a box in a tag is what is meant."""
    inner = _boxes(text, *span)[0] if mark == TAG else []
    if inner:
        return _boxed(text, inner[-1], span)
    tokens = tokens_of(text, *span)
    try:
        return Found(read_strictly(tokens), mark, span)
    except Malformed as error:
        return NoAnswer(error.reason, error.place or span.start, mark)


def _boxed(text: str, box: Span, within: Span) -> Found | NoAnswer:
    """Read a box. One that holds a number alone is the right side of the equation that stands before it, if any."""
    found = _marked(text, box, BOX)
    if isinstance(found, NoAnswer) or found.statements[-1].sides[-1].operates or len(found.statements) > 1:
        return found
    line = max(text.rfind("\n", 0, box.start) + 1, within.start, box.start - _BEFORE_BOX)
    before = _BOX_OPENS.sub("", text[line : box.start]).rstrip()
    if not before.endswith(("=", "＝")):
        return found
    tokens = tokens_of(text, line, line + len(before)) + tokens_of(text, *box)
    try:
        return Found(read_freely(tokens)[-1:], BOX, Span(line, box.end))
    except Malformed as error:
        return NoAnswer(error.reason, error.place, BOX)


def _searched(text: str) -> Found | NoAnswer:
    """Read the path to the first goal of a search in the published wording; its other branches do not matter."""
    goal = _GOAL.search(text)
    if goal is None:
        return NoAnswer("no_goal", len(text), STREAM)
    explored = text.rfind("Exploring Operation: ", 0, goal.start())
    if explored < 0:
        return NoAnswer("no_goal", goal.start(), STREAM)
    tokens: list[Token] = []
    state = text.rfind("Operations: [", 0, explored)
    for start, stop in ((state + len("Operations: ["), "]"), (explored + len("Exploring Operation: "), ", Resulting")):
        end = text.find(stop, start, goal.start())
        if state >= 0 or stop != "]":
            tokens += tokens_of(text, start, goal.start() if end < 0 else end)
            tokens.append(Token(LINE, "\n", goal.start(), goal.start()))
    try:
        return Found(read_strictly(tokens), STREAM, Span(explored, goal.end()))
    except Malformed as error:
        return NoAnswer(error.reason, error.place, STREAM)


def _unmarked(text: str, spoken: list[Span]) -> Found | NoAnswer:
    tokens: list[Token] = []
    for span in spoken:
        tokens += tokens_of(text, *span)
        tokens.append(Token(LINE, "\n", span.end, span.end))
    if len(_OPTIONS.findall(text, spoken[0].start)) > 1:
        return NoAnswer("several", spoken[0].start, UNMARKED)
    try:
        found = read_strictly(tokens, most_bullets=0)
    except Malformed:
        try:
            found = read_freely(tokens)
        except Malformed as error:
            return NoAnswer(error.reason, error.place, UNMARKED)
    return Found(found, UNMARKED, Span(found[0].start, found[-1].end))
