"""The published words of Sudoku searches (Giannoulis et al. 2025, gpt-reasoning/ReasoningCombinatorials), to and from
the dialect `compact`.

Theirs are 9x9 puzzles, and the search is ours with `search.heuristic=hidden`: the first cell that a rule fills, else
the first with the fewest candidates, its values rising. What differs is the wording, token by token:

| | `compact` | published |
| --- | --- | --- |
| puzzle | the 81 digits, `=` | `rcv` (row, column, value in one number) for each clue, `100` |
| forced move | `rc v` | `rcv` |
| guess | `? rc v` | `101 L rcv`, L its level, from 1; a later value of the same cell: `rcv` |
| dead end | `x` | `102` |
| return | `< L` | `L`; before it, `L' 102` for each level L' above it that has no value left |
| end | `!` | `0` |

A template says an event by itself and takes numbers from one row as they stand, so that three things are beyond it: to
list the clues only, to join cell and digit, and to say the levels that a return passes. Hence these two functions.
"""

from __future__ import annotations

from collections.abc import Iterator

from sos.errors import UserError

CLUES_END, GUESS, DEAD_END, END = "100", "101", "102", "0"
CELLS = 81


def to_published(text: str) -> str:
    """Return the published words of a stream of a 9x9 search in the dialect `compact`, without its first and last mark
    (`<bos>`, `<eos>`). Raises UserError for what is no such stream."""
    words = text.split()
    digits, words = words[:CELLS], words[CELLS:]
    if len(digits) < CELLS or not all(len(digit) == 1 and digit.isdigit() for digit in digits) or words[:1] != ["="]:
        raise UserError(f"a stream must begin with {CELLS} digits and =, got {text[:60]!r}")
    found = [f"{k // 9 + 1}{k % 9 + 1}{digit}" for k, digit in enumerate(digits) if digit != "0"]
    found.append(CLUES_END)
    level, returned, rest = 1, False, iter(words[1:])
    for word in rest:
        if word == "!":
            found.append(END)
        elif word == "x":
            found.append(DEAD_END)
        elif word == "<":
            back = _number(next(rest, ""))
            for passed in range(level - 1, back, -1):
                found += [str(passed), DEAD_END]
            found.append(str(back))
            level, returned = back, True
        else:
            is_guess = word == "?"
            if is_guess and not returned:
                found += [GUESS, str(level)]
            cell, digit = next(rest, "") if is_guess else word, next(rest, "")
            found.append(f"{_number(cell)}{_number(digit)}")
            level, returned = level + is_guess, False
    return " ".join(found)


def _number(word: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise UserError(f"{word!r} stands where a number should")
    return int(word)


def from_published(text: str) -> str:
    """Return a published search as a stream of the dialect `compact`, without `<bos>` and `<eos>`: what it says, right
    or wrong. Raises UserError for words that cannot be read, such as a return that no value follows."""
    words = text.split()
    if CLUES_END not in words:
        raise UserError(f"a search needs {CLUES_END} behind its clues, got {text[:60]!r}")
    split = words.index(CLUES_END)
    digits = ["0"] * CELLS
    for word in words[:split]:
        place, digit = _move(word).split()
        digits[9 * (int(place) // 10 - 1) + int(place) % 10 - 1] = digit
    return " ".join([*digits, "=", *_moves(iter(words[split + 1 :]))])


def _move(word: str) -> str:
    """Return `rc v` for `rcv`."""
    if len(word) != 3 or not (word.isascii() and word.isdigit()) or "0" in word:
        raise UserError(f"{word!r} is no cell with its value")
    return f"{word[:2]} {word[2]}"


def _moves(words: Iterator[str]) -> Iterator[str]:
    for word in words:
        if word == END:
            yield "!"
        elif word == GUESS:
            _number(next(words, ""))  # the level, which follows from what stands before
            yield f"? {_move(next(words, ''))}"
        elif word == DEAD_END:
            level, follows = _number(next(words, "")), next(words, "")
            while follows == DEAD_END:
                level, follows = _number(next(words, "")), next(words, "")
            yield f"x < {level} ? {_move(follows)}"
        else:
            yield _move(word)
