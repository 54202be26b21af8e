r"""Free text as tokens of arithmetic: numbers, signs and whatever stands around them, in one pass.

Read as the same sign: `* × · ⋅ ∗ ∙ x X \times \cdot`, `/ ÷ ⁄ ∕ \div \frac`, `- − – — ‐ ‑`, full-width signs, round and
square brackets. A number is ASCII digits without a leading zero, a point, an exponent or anything else that touches
it. Nothing is evaluated. Time and memory are linear in the length of the text.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MOST_DIGITS = 100  # of a number that is read as one

NUMBER, SIGN, OPEN, CLOSE, EQUALS = "number", "sign", "open", "close", "equals"
OTHER = "other"  # an operator that is none of ours
STRAY = "stray"  # a bracket or sign that is none of arithmetic's
JUNK = "junk"  # no number, though it holds digits: 3.0, 0x57, 8_7, 007
WORD, CALL, COMMA, COLON, POINT, LINE, MARK = "word", "call", "comma", "colon", "point", "line", "mark"


class Token(NamedTuple):
    """A piece of the text from `start` to `end`; `text` is a sign's ASCII form, a number's digits."""

    kind: str
    text: str
    start: int
    end: int


_ZERO_WIDTH = "\u00ad\u180e\u200b\u200c\u200d\u2060\ufeff"
_BREAKS = "\n\r\v\f\x85\u2028\u2029"
_PATTERN = re.compile(
    rf"(?P<line>[{_BREAKS}]+)"
    rf"|(?P<blank>(?:[^\S{_BREAKS}]|[{_ZERO_WIDTH}])+)"
    r"|(?P<special><\|[^<>|\n]{1,40}\|>)"
    r"|(?P<html></?[A-Za-z][A-Za-z0-9]{0,20}[ ]{0,8}/?>)"
    r"|(?P<macro>\\[A-Za-z]+)"
    r"|(?P<escape>\\.)"
    r"|(?P<word>\.?\w+(?:[.,]\w+)*)"
    r"|(?P<other>\*\*|//|<<|>>)"
    r"|(?P<stray>==|!=|<=|>=|:=)"
    r"|(?P<mark>->|=>|\.\.+)"
    r"|(?P<sign>.)",
    re.DOTALL,
)
_KINDS = {"line": LINE, "special": LINE, "other": OTHER, "stray": STRAY, "mark": MARK}
_SIGNS = {
    **dict.fromkeys("+＋", (SIGN, "+")),
    **dict.fromkeys("-−–—‐‑－", (SIGN, "-")),
    **dict.fromkeys("*×·⋅∗∙＊", (SIGN, "*")),
    **dict.fromkeys("/÷⁄∕／", (SIGN, "/")),
    **dict.fromkeys("(（", (OPEN, "(")),
    **dict.fromkeys(")）", (CLOSE, ")")),
    "[": (OPEN, "["),
    "]": (CLOSE, "]"),
    **dict.fromkeys("=＝", (EQUALS, "=")),
    **dict.fromkeys(",;，；、", (COMMA, ",")),
    **dict.fromkeys(":：", (COLON, ":")),
    **dict.fromkeys(".。", (POINT, ".")),
    **dict.fromkeys("#<>{}@\\≠≈≤≥➕➖➗✖✕", (STRAY, "")),
    **{sign: (OTHER, sign) for sign in "%^&|~√∛∜!¬±∓"},
}
_MACROS = {
    **dict.fromkeys(("times", "cdot", "ast"), (SIGN, "*")),
    "div": (SIGN, "/"),
    **dict.fromkeys(("left", "right", "big", "Big", "bigl", "bigr", "quad", "qquad", "displaystyle"), None),
    **dict.fromkeys(("to", "rightarrow", "Rightarrow", "implies", "therefore", "begin", "end"), (MARK, ">")),
    "newline": (LINE, "\n"),
}
_FRACTIONS = ("frac", "dfrac", "tfrac", "cfrac")
_WRAPPERS = ("text", "textbf", "textit", "textrm", "mathrm", "mathbf", "mathit", "mathsf", "boxed", "fbox")
_OPERATOR_WORDS = {"plus", "minus", "times", "over", "divided", "multiplied"}
_BREAKING_HTML = ("br", "p", "li", "div", "tr", "ul", "ol")


def tokens_of(text: str, start: int = 0, end: int | None = None) -> list[Token]:
    """Return the tokens of a part of a text; blanks are left out."""
    found: list[Token] = []
    braces = _Braces(found)
    for match in _PATTERN.finditer(text, start, len(text) if end is None else end):
        kind, piece, at = match.lastgroup, match[0], match.start()
        if kind == "blank":
            continue
        if braces.take(kind, piece, at):
            continue
        if kind == "word":
            _add_word(found, piece, at)
        elif kind == "sign":
            kind, meant = _SIGNS.get(piece, (MARK, piece))
            found.append(Token(kind, meant or piece, at, at + 1))
        elif kind == "escape":
            _add_escape(found, piece, at)
        elif kind == "html":
            if piece.strip("</> ").lower() in _BREAKING_HTML:
                found.append(Token(LINE, "\n", at, match.end()))
        else:
            assert kind is not None
            found.append(Token(_KINDS[kind], piece, at, match.end()))
    braces.finish()
    return _resolved(found)


class _Braces:
    """LaTeX's macros and braces: a fraction becomes brackets and a division, a wrapper such as `text` goes."""

    def __init__(self, found: list[Token]) -> None:
        self.found = found
        self.open: list[str] = []
        self.awaited = ""  # what the next brace opens
        self.macro = (0, 0)

    def take(self, kind: str | None, piece: str, at: int) -> bool:
        """Say whether the piece was one of LaTeX's; its tokens are added then."""
        if self.awaited and piece != "{":
            self._add(JUNK, "\\", *self.macro)
            self.awaited = ""
        if kind == "macro":
            self._macro(piece[1:], at)
        elif piece == "{":
            self._open(at)
        elif piece == "}":
            self._close(at)
        return kind == "macro" or piece in ("{", "}")

    def finish(self) -> None:
        """A macro at the end of the text lacks its brace, and a fraction may lack one that closes it."""
        if self.awaited:
            self._add(JUNK, "\\", *self.macro)

    def _add(self, kind: str, text: str, start: int, end: int) -> None:
        self.found.append(Token(kind, text, start, end))

    def _macro(self, name: str, at: int) -> None:
        end = at + len(name) + 1
        self.macro = (at, end)
        if name in _FRACTIONS:
            self.awaited = "numerator"
        elif name in _WRAPPERS:
            self.awaited = "wrapper"
        elif name in _MACROS:
            if (meant := _MACROS[name]) is not None:
                self._add(meant[0], meant[1], at, end)
        else:
            self._add(OTHER if name in ("sqrt", "pm", "mod", "bmod", "binom") else WORD, name, at, end)

    def _open(self, at: int) -> None:
        kind, self.awaited = self.awaited or "brace", ""
        self.open.append(kind)
        if kind == "brace":
            self._add(STRAY, "{", at, at + 1)
        for _ in range({"numerator": 2, "denominator": 1}.get(kind, 0)):
            self._add(OPEN, "(", at, at + 1)

    def _close(self, at: int) -> None:
        kind = self.open.pop() if self.open else "brace"
        if kind == "brace":
            self._add(STRAY, "}", at, at + 1)
        for _ in range({"numerator": 1, "denominator": 2}.get(kind, 0)):
            self._add(CLOSE, ")", at, at + 1)
        if kind == "numerator":
            self._add(SIGN, "/", at, at + 1)
            self.awaited, self.macro = "denominator", (at, at + 1)


def _add_escape(found: list[Token], piece: str, at: int) -> None:
    sign = piece[1]
    if sign in ",;:! ":  # LaTeX's blanks
        return
    if sign == "\\":
        found.append(Token(LINE, "\n", at, at + 2))
    elif sign in "()[]":  # its formulas
        found.append(Token(MARK, "$", at, at + 2))
    else:
        kind, meant = _SIGNS.get(sign, (MARK, sign))
        found.append(Token(kind, meant or sign, at, at + 2))


def _number(digits: str, at: int) -> Token:
    plain = digits.isascii() and digits.isdigit() and (digits == "0" or digits[0] != "0")
    return Token(NUMBER if plain and len(digits) <= MOST_DIGITS else JUNK, digits, at, at + len(digits))


_TIMES = re.compile(r"(?:[0-9]*[xX][0-9]*)+")
_HEXADECIMAL = re.compile(r"0[xX][0-9]")
_PARTS = re.compile(r"([.,])")


def _add_word(found: list[Token], piece: str, at: int) -> None:
    """Add the tokens of letters, digits and the points and commas between them."""
    parts = _PARTS.split(piece)
    for k in range(1, len(parts), 2):
        left, right = parts[k - 1], parts[k + 1]
        if parts[k] == "." and not right.isalpha() and (not left or left[-1].isdigit()):
            found.append(Token(JUNK, piece, at, at + len(piece)))  # 3.0, .5, 3.e1
            return
    for part in parts:
        if part in (",", "."):
            found.append(Token(COMMA if part == "," else POINT, part, at, at + 1))
        elif part:
            _add_part(found, part, at)
        at += len(part)


def _add_part(found: list[Token], part: str, at: int) -> None:
    if part[0].isdigit() and part.isascii() and part.isdigit():
        found.append(_number(part, at))
    elif part.isalpha():
        found.append(Token(WORD, part, at, at + len(part)))
    elif _TIMES.fullmatch(part) and not _HEXADECIMAL.match(part):
        for match in re.finditer(r"[0-9]+|[xX]", part):
            piece, place = match[0], at + match.start()
            found.append(_number(piece, place) if piece.isdigit() else Token(WORD, piece, place, place + 1))
    elif part.strip("_").isdigit():
        inner = part.strip("_")
        lead, end = part.index(inner), at + len(part)
        if lead:
            found.append(Token(MARK, "_", at, at + lead))
        found.append(_number(inner, at + lead))
        if at + lead + len(inner) < end:
            found.append(Token(MARK, "_", at + lead + len(inner), end))
    else:
        named = part.isascii() and not part[0].isdigit()
        found.append(Token(WORD if named else JUNK, part, at, at + len(part)))


def ends_operand(token: Token | None) -> bool:
    """Say whether an operand ends with the token."""
    return token is not None and token.kind in (NUMBER, CLOSE, JUNK)


def starts_operand(token: Token | None) -> bool:
    """Say whether an operand starts with the token."""
    return token is not None and token.kind in (NUMBER, OPEN, JUNK)


def _resolved(found: list[Token]) -> list[Token]:
    """Decide what depends on the neighbours: x, a bold mark or a power, a colon, a point, an exclamation mark."""
    lists = _list_brackets(found)
    out: list[Token] = []
    equation = False  # an equals sign came since the last thing that is no arithmetic
    for k, token in enumerate(found):
        before = out[-1] if out else None
        behind = found[k + 1] if k + 1 < len(found) else None
        if k in lists:
            token = token._replace(kind=MARK)
        elif token.kind == WORD:
            token = _resolved_word(token, before, behind)
        elif token.kind in (OTHER, STRAY, COLON, POINT):
            token = _resolved_other(token, before, behind, found[k + 2] if k + 2 < len(found) else None, equation)
        if token.kind == EQUALS:
            equation = True
        elif token.kind in (WORD, CALL, COMMA, LINE, COLON):
            equation = False
        if not (token.kind == MARK and token.text == "**"):
            out.append(token)
    return out


def _resolved_word(token: Token, before: Token | None, behind: Token | None) -> Token:
    between = ends_operand(before) and starts_operand(behind)
    if token.text in ("x", "X") and between:
        return token._replace(kind=SIGN, text="*")
    if not token.text.strip("_"):
        return token._replace(kind=MARK)  # emphasis
    name = token.text.lower()
    if name in _OPERATOR_WORDS and ends_operand(before) and (between or name in ("divided", "multiplied")):
        return token._replace(kind=STRAY)
    if behind is not None and behind.kind == OPEN and behind.start == token.end:
        return token._replace(kind=CALL)
    return token._replace(kind=CALL) if "__" in token.text else token


def _resolved_other(
    token: Token, before: Token | None, behind: Token | None, then: Token | None, equation: bool
) -> Token:
    """An operator that is none of ours counts as one between or at operands, elsewhere it is a mark."""
    after, upon = ends_operand(before), starts_operand(behind)
    text = token.text
    glued = before is not None and before.end == token.start
    if token.kind == COLON:
        ratio = after and upon and (not glued or (behind is not None and behind.start == token.end))
        return token._replace(kind=STRAY) if ratio else token
    if token.kind == POINT:
        decimal = after and glued and behind is not None and behind.kind == SIGN and starts_operand(then)
        return token._replace(kind=JUNK) if decimal else token
    if text == "!":
        return token._replace(kind=OTHER if after and not equation else MARK)
    if text == "**":
        return token._replace(kind=OTHER if after and upon else MARK)
    if text == "#":
        return token._replace(kind=STRAY if after else MARK)
    if text == ">" and (before is None or before.kind == LINE):
        return token._replace(kind=MARK)  # a quotation
    counts = upon or (after and behind is not None and behind.kind in (SIGN, OTHER, STRAY))
    return token if counts or text in ("==", ":=", "//") else token._replace(kind=MARK)


def _list_brackets(found: list[Token]) -> set[int]:
    """Return the places of the square brackets that hold a list: something between them is a comma or a quotation
    mark."""
    places: set[int] = set()
    stack: list[tuple[int, bool]] = []
    for k, token in enumerate(found):
        if token.kind == OPEN:
            stack.append((k, False))
        elif token.kind == CLOSE and stack:
            opened, is_list = stack.pop()
            if is_list and found[opened].text == "[" and token.text == "]":
                places |= {opened, k}
        elif stack and (token.kind == COMMA or (token.kind == MARK and token.text in "'\"`")):
            stack[-1] = (stack[-1][0], True)
    return places
