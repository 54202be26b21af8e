"""Texts that readers of answers trip over: random pieces of answers, and long ones that made published patterns slow."""

from __future__ import annotations

import random

PIECES = (
    *"0123456789+-*/()[]{}=.,;:!?x×÷−–·%^&|~√#<>$\\\"'`_ \n\t",
    *("<answer>", "</answer>", "<think>", "</think>", "<ANSWER >", "\\boxed{", "}", "{", "\\frac{", "\\text{", "\\times"),
    *("3 + 4", "= 7", "12", "(1 + 2) * 3", "5-3=2, 2*4=8", "\\(", "\\]", "**", "//", "==", "->", "Step 1:", "1.", "- "),
    *("Option A", "lambda", "abs(", "if", "else", "or", "x", "plus", "Goal Reached", "5,5 equal: Goal Reached\n"),
    *("Exploring Operation: 3+4=7, Resulting", "Current State: 7:[3, 4], Operations: ['3+4=7']\n", "٣", "²", "\u200b", "\u2028"),
    *("<|im_end|>", "<b>", "</b>", "<br>", "😀", "➕", "\ud800", "\x00", "9" * 40, "0x10", "1e5", "3.0", "1,024", "007"),
)


def random_text(rng: random.Random, most: int = 30) -> str:
    return "".join(rng.choice(PIECES) for _ in range(rng.randint(0, most)))


def long_texts(n: int) -> dict[str, str]:
    """Texts of about `n` characters, of every kind that could take more than linear time."""
    return {
        "unclosed tags": "<answer>" * (n // 8),
        "closed tags": "<answer>1</answer>" * (n // 18),
        "closing tags": "</answer>" * (n // 9),
        "thoughts": "<think>a</think>" * (n // 16),
        "unclosed thoughts": "<think>" * (n // 7),
        "tags with blanks": "<answer" + " " * n,
        "half tags": "<" * n,
        "boxes in boxes": "\\boxed{" * (n // 7) + "}" * (n // 7),
        "boxes": "\\boxed{1}" * (n // 9),
        "boxes and thoughts": "<think>\\boxed{1}</think>" * (n // 24),
        "boxes behind an equals sign": "1 + 1 = \\boxed{2} " * (n // 18),
        "fractions": "\\frac{" * (n // 6),
        "whole fractions": "\\frac{1}{2}" * (n // 11),
        "braces": "{" * n,
        "open brackets": "(" * n,
        "brackets": "(" * (n // 2) + "1" + ")" * (n // 2),
        "closing brackets": ")" * n,
        "lists": "[" * (n // 2) + "," + "]" * (n // 2),
        "digits": "7" * n,
        "sevens": "7 " * (n // 2),
        "signs": "-" * n,
        "signs and a number": "-" * n + "7",
        "a sum": "1 + " * (n // 4) + "1",
        "a product": "9 * " * (n // 4) + "9",
        "fractions added": "+".join(f"1/{k}" for k in range(2, n // 7)),
        "equations": "1 = " * (n // 4) + "1",
        "steps": "1 + 1 = 2, " * (n // 11),
        "steps on lines": "1 + 1 = 2\n" * (n // 10),
        "letters": "a" * n,
        "words": "an a " * (n // 5),
        "dots": "." * n,
        "points": "1." * (n // 2),
        "commas": "1," * (n // 2),
        "blanks": " " * n,
        "lines": "\n" * n,
        "bullets": "- 1 + 2\n" * (n // 8),
        "numbered": "1) 1 + 2\n" * (n // 9),
        "options": "option a " * (n // 9),
        "quotes": "'1+1=2', " * (n // 9),
        "calls": "f(1 + 1) " * (n // 9),
        "html": "<b>" * (n // 3),
        "half html": "<a" * (n // 2),
        "special": "<|a|>" * (n // 5),
        "half special": "<|" * (n // 2),
        "macros": "\\a" * (n // 2),
        "backslashes": "\\" * n,
        "goals": "5,5 equal: Goal Reached\n" * (n // 24),
        "states": "Current State: 7:[3, 4], Operations: ['3+4=7']\n" * (n // 48),
        "explored": "Exploring Operation: 3+4=7, Resulting Numbers: [7]\n" * (n // 52),
        "half a goal": "5,5 equal: Goal " * (n // 16),
        "surrogates": "\ud800" * n,
        "x": "3x" * (n // 2),
        "underscores": "_" * n,
        "stars": "*" * n,
        "exclaims": "2! " * (n // 3),
    }
