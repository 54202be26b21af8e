"""The statements of a text: expressions, equations and lists of steps, and what stands between them.

A *segment* is a run of numbers, signs and brackets; words, commas, colons and ends of lines end it. Strictly read, a
text must be statements as a whole; freely read, its last expression or equation counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sos.interop.answers.arithmetic import Expression, Malformed, parse
from sos.interop.answers.tokens import (
    CALL,
    CLOSE,
    COLON,
    COMMA,
    EQUALS,
    JUNK,
    LINE,
    MARK,
    NUMBER,
    OPEN,
    OTHER,
    POINT,
    SIGN,
    STRAY,
    WORD,
    Token,
    starts_operand,
)

_ARITHMETIC = {NUMBER, SIGN, OPEN, CLOSE, EQUALS, OTHER, STRAY, JUNK}
_STEP_WORDS = {"step", "first", "second", "third", "then", "next", "finally", "now", "so", "and", "therefore", "thus"}
_CODE_WORDS = {"lambda", "import", "True", "False", "eval", "exec"}
_FUNCTIONS = {"pow", "abs", "sqrt", "factorial", "floor", "ceil"}
_QUOTES = set("'\"`$‘’“”´*?!>_\\") | {"<", "**", "..", "...", "```"}


class Statement(NamedTuple):
    """An expression, or an equation of two or more."""

    sides: tuple[Expression, ...]

    @property
    def is_step(self) -> bool:
        """Whether it says what an expression comes to: `3 + 4 = 7`."""
        return len(self.sides) == 2 and self.sides[0].operates and not self.sides[1].operates

    @property
    def start(self) -> int:
        """Where it starts in the text."""
        return self.sides[0].start

    @property
    def end(self) -> int:
        """Where it ends in the text."""
        return self.sides[-1].end


class Segment(NamedTuple):
    """A run of arithmetic in a line of the text."""

    tokens: tuple[Token, ...]
    line: int

    @property
    def is_candidate(self) -> bool:
        """Whether it is more than a number with or without a sign."""
        kinds = [token.kind for token in self.tokens]
        if not {NUMBER, JUNK} & set(kinds):
            return False
        if len(kinds) == 2 and kinds[0] == SIGN:
            return False
        return len(kinds) > 1 and bool({SIGN, EQUALS, OTHER, STRAY} & set(kinds))

    @property
    def is_number(self) -> bool:
        """Whether it is one number."""
        return len(self.tokens) == 1 and self.tokens[0].kind == NUMBER


Piece = Segment | Token


def statement(segment: Segment) -> Statement:
    """Return the statement that a segment is. Raises Malformed."""
    for token in segment.tokens:
        if token.kind == OTHER:
            raise Malformed("operator", token.start)
        if token.kind in (JUNK, STRAY):
            raise Malformed("number" if token.kind == JUNK else "sign", token.start)
    sides: list[list[Token]] = [[]]
    for token in segment.tokens:
        if token.kind == EQUALS:
            sides.append([])
        else:
            sides[-1].append(token)
    if not all(sides):
        raise Malformed("no expression", segment.tokens[0].start)
    return Statement(tuple(parse(side) for side in sides))


def pieces_of(tokens: Sequence[Token], *, join: bool) -> tuple[list[Piece], dict[int, str]]:
    """Return the segments and the tokens between them, and the lines that hold code, each with what it is.

    With `join` a line's end ends no segment; otherwise it does, but within brackets and beside an operator.
    """
    pieces: list[Piece] = []
    run: list[Token] = []
    code: dict[int, str] = {}
    conditions: dict[str, int] = {}
    depth, line, run_line = 0, 0, 0
    for k, token in enumerate(tokens):
        if token.kind in _ARITHMETIC:
            run_line = run_line if run else line
            run.append(token)
            depth += (token.kind == OPEN) - (token.kind == CLOSE and depth > 0)
            continue
        if token.kind == LINE:
            line += 1
            behind = tokens[k + 1].kind if k + 1 < len(tokens) else ""
            if run and (join or depth > 0 or run[-1].kind in (SIGN, EQUALS) or behind == EQUALS):
                continue
        elif token.kind == CALL or (token.kind == WORD and token.text in _CODE_WORDS):
            code[line] = "operator" if token.text in _FUNCTIONS else "code"
        elif token.kind == WORD and token.text in ("if", "else"):
            conditions[token.text] = line
            if conditions.get("if") == conditions.get("else"):
                code[line] = "code"
        if run:
            pieces.append(Segment(tuple(run), run_line))
        run, depth = [], 0
        pieces.append(token)
    if run:
        pieces.append(Segment(tuple(run), run_line))
    return pieces, code


def _is_light(pieces: Sequence[Piece], k: int) -> bool:
    """Say whether a piece carries nothing: a separator, a quotation mark, the number or name of a step."""
    piece = pieces[k]
    if isinstance(piece, Segment):
        behind = pieces[k + 1] if k + 1 < len(pieces) else None
        return piece.is_number and isinstance(behind, Token) and behind.kind in (POINT, COLON)
    if piece.kind in (COMMA, LINE, POINT):
        return True
    if piece.kind == WORD:
        return piece.text.lower() in _STEP_WORDS
    if piece.kind == COLON:
        before = pieces[k - 1] if k else None
        if isinstance(before, Segment):
            return before.is_number
        return before is not None and before.kind == WORD and before.text.lower() in _STEP_WORDS
    return piece.kind == MARK and (piece.text in _QUOTES or piece.text.startswith("<|") or piece.text in "[]")


def _without_marks(pieces: list[Piece], *, prose: bool) -> list[Piece]:
    """Take list marks, stars of emphasis and, in prose, dashes and brackets of the sentence from the segments."""
    out: list[Piece] = []
    for k, piece in enumerate(pieces):
        if isinstance(piece, Token):
            out.append(piece)
            continue
        before = pieces[k - 1] if k else None
        behind = pieces[k + 1] if k + 1 < len(pieces) else None
        assert not isinstance(before, Segment)
        assert not isinstance(behind, Segment)
        tokens = _without_list_mark(list(piece.tokens), before is None or before.kind == LINE, prose)
        if len(tokens) > 2 and tokens[0].text == tokens[-1].text == "*":
            tokens = tokens[1:-1]
        if prose:
            tokens = _without_prose(tokens, before, behind)
        out.append(Segment(tuple(tokens), piece.line)) if tokens else None
    return out


def _without_list_mark(tokens: list[Token], at_line: bool, bullets: bool) -> list[Token]:
    if not at_line:
        return tokens
    kinds = [token.kind for token in tokens[:4]]
    if kinds[:2] == [NUMBER, CLOSE] and len(kinds) > 2 and starts_operand(tokens[2]):
        return tokens[2:]
    if (
        kinds[:3] == [OPEN, NUMBER, CLOSE]
        and len(kinds) > 3
        and starts_operand(tokens[3])
        and tokens[2].end < tokens[3].start
    ):
        return tokens[3:]
    if bullets and kinds[0] == SIGN and len(kinds) > 1 and tokens[0].end < tokens[1].start:
        return tokens[1:]
    return tokens


def _without_prose(tokens: list[Token], before: Token | None, behind: Token | None) -> list[Token]:
    """Take away what belongs to the sentence around: dashes, an equals sign after a word, half a pair of brackets."""
    worded = before is not None and before.kind in (WORD, COLON)
    if worded and len(tokens) > 1 and tokens[0].text == "-" and tokens[0].end < tokens[1].start:
        tokens = tokens[1:]
    if tokens[0].kind == EQUALS:
        tokens = tokens[1:]
    if len(tokens) > 1 and tokens[-1].kind == SIGN and behind is not None and behind.kind in (WORD, LINE):
        hyphen = len(tokens) == 2 and behind.start == tokens[-1].end
        if hyphen or (tokens[-1].text == "-" and tokens[-2].end < tokens[-1].start and behind.kind == LINE):
            tokens = tokens[:-1]
    if [token.kind for token in tokens[-4:]] == [OPEN, EQUALS, NUMBER, CLOSE] and len(tokens) > 4:
        tokens = [*tokens[:-4], *tokens[-3:-1]]  # E (= 7)
    worded = behind is not None and behind.kind in (WORD, CALL)
    start, end = 0, len(tokens)
    while end - start > 1 and tokens[end - 1].kind == OPEN and worded:
        end -= 1
    surplus = sum((token.kind == OPEN) - (token.kind == CLOSE) for token in tokens[:end])
    while surplus < 0 and end - start > 1 and tokens[end - 1].kind == CLOSE and tokens[end - 2].kind != OPEN:
        end, surplus = end - 1, surplus + 1
    while surplus > 0 and end - start > 1 and tokens[start].kind == OPEN and worded:
        start, surplus = start + 1, surplus - 1
    return tokens[start:end]


def read_strictly(tokens: Sequence[Token], most_bullets: int = 1) -> list[Statement]:
    """Return the statements that the tokens are as a whole: one of any form, or a list whose first ones are steps.

    Where the first line starts with a sign and a blank, and more than `most_bullets` lines do, these are bullets.
    Raises Malformed.
    """
    if not tokens:
        raise Malformed("empty", 0)
    refusal: Malformed | None = None
    for join in (True, False):
        if join and _num_bullets(tokens) > most_bullets:
            continue
        pieces = _without_marks(pieces_of(tokens, join=join)[0], prose=not join)
        try:
            return _strict_statements(pieces)
        except Malformed as error:
            refusal = refusal or error
    assert refusal is not None
    raise refusal


def _num_bullets(tokens: Sequence[Token]) -> int:
    """Return how many lines start with a sign and a blank, 0 where the first one does not."""
    starts = [k for k in range(len(tokens) - 1) if k == 0 or tokens[k - 1].kind == LINE]
    bullets = [k for k in starts if tokens[k].kind == SIGN and tokens[k].end < tokens[k + 1].start]
    return len(bullets) if bullets[:1] == [0] else 0


def _strict_statements(pieces: list[Piece]) -> list[Statement]:
    segments: list[Segment] = []
    for k, piece in enumerate(pieces):
        if not _is_light(pieces, k):
            if isinstance(piece, Token):
                raise Malformed("operator" if piece.text in _FUNCTIONS else "words", piece.start)
            segments.append(piece)
    if not segments:
        raise Malformed("empty", 0)
    found = [statement(segment) for segment in segments]
    for earlier in found[:-1]:
        if not earlier.is_step:
            raise Malformed("several", earlier.start)
    if len(found) > 1 and not (found[-1].is_step or found[-1].sides[0].operates):
        raise Malformed("several", found[-1].start)
    return found


def read_freely(tokens: Sequence[Token]) -> list[Statement]:
    """Return the last statement of a text, and before it the steps that lead up to it without a word between them.

    Raises Malformed: there is none, or the last thing that looks like one is none.
    """
    pieces, code = pieces_of(tokens, join=False)
    pieces = _without_marks(pieces, prose=True)
    last = next((k for k in range(len(pieces) - 1, -1, -1) if _is_candidate(pieces[k])), None)
    if last is None:
        raise Malformed("nothing", 0)
    segment = pieces[last]
    assert isinstance(segment, Segment)
    if segment.line in code:
        raise Malformed(code[segment.line], segment.tokens[0].start)
    for step in (-1, 1):
        if _is_joined_number(pieces, last, step):
            raise Malformed("number", segment.tokens[0].start)
    if _goes_on(pieces, last):
        raise Malformed("no expression", segment.tokens[0].start)
    found = [statement(segment)]
    for k in range(last - 1, -1, -1):
        piece = pieces[k]
        if _is_light(pieces, k):
            continue
        if not isinstance(piece, Segment) or not piece.is_candidate or piece.line in code:
            break
        try:
            earlier = statement(piece)
        except Malformed:
            break
        if not earlier.is_step:
            break
        found.append(earlier)
    return found[::-1]


def _is_candidate(piece: Piece) -> bool:
    return isinstance(piece, Segment) and piece.is_candidate


def _goes_on(pieces: Sequence[Piece], k: int) -> bool:
    """Say whether a sign joins the segment at `k` to what stands beside it: a word, or a segment behind a mark."""
    segment = pieces[k]
    before = pieces[k - 1] if k else None
    if isinstance(segment, Segment) and segment.tokens[0].kind == SIGN and isinstance(before, Token):
        if before.kind == WORD and segment.tokens[0].end < segment.tokens[1].start:
            return True
        if before.kind == MARK and k > 1 and isinstance(pieces[k - 2], Segment):
            return True
    k += 1
    while k < len(pieces) and isinstance(piece := pieces[k], Token) and piece.kind == MARK:
        k += 1
    behind = pieces[k] if k < len(pieces) else None
    return isinstance(behind, Segment) and behind.tokens[0].kind == SIGN


def _is_joined_number(pieces: Sequence[Piece], k: int, step: int) -> bool:
    """Say whether a comma without a blank joins the segment at `k` to a lone number: 1,024 is none of ours."""
    if not 0 <= k + 2 * step < len(pieces):
        return False
    segment, comma, number = pieces[k], pieces[k + step], pieces[k + 2 * step]
    if not (isinstance(segment, Segment) and isinstance(comma, Token) and isinstance(number, Segment)):
        return False
    if comma.kind != COMMA or len(number.tokens) != 1:
        return False
    ends = (
        [segment.tokens[-1].end, number.tokens[0].start]
        if step > 0
        else [number.tokens[0].end, segment.tokens[0].start]
    )
    return ends == [comma.start, comma.end]
