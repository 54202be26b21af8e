"""Free-text answers: every row of the reference, conventions one by one, a slow oracle, hostile texts."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hostile_texts import long_texts, random_text
from naive.answers import judge, random_tree, text_of, value_of

from sos.interop.answers.arithmetic import MOST_NUMBERS, Malformed, parse, work
from sos.interop.answers.judge import REASONS, RULES, Rules, Score, score_text, score_texts
from sos.interop.answers.reader import MOST_CHARACTERS, is_tagged, read_answer
from sos.interop.answers.tokens import tokens_of

NUMBERS, TARGET, RIGHT = [83, 64, 25], 475, "(83 - 64) * 25"


def score(text: str, rules: Rules = RULES["sos"]) -> Score:
    return score_text(text, NUMBERS, TARGET, rules)


def test_every_row_of_the_reference_is_judged_right(reference: Path) -> None:
    """What is wrong and what is needed is named as there, but for one operator that is none by either."""
    rows = [json.loads(line) for line in (reference / "answers" / "answers.jsonl").read_text().splitlines()]
    assert len(rows) >= 185
    for row in rows:
        for name, rules in RULES.items():
            found = score_text(row["text"], row["numbers"], row["target"], rules)
            assert (found.value, found.reason == "right") == (float(row[name]), row[name]), row["id"]
            needs = None if found.needs is None else sorted(found.needs)
            best = None if found.needs_any_order is None else sorted(found.needs_any_order)
            assert (needs, best) == tuple(x and sorted(x) for x in (row["needs"], row["needs_any_order"])), row["id"]
            if row["convention"] != "floor_division":
                assert list(found.faults) == row["faults"], row["id"]


def test_any_order_of_the_reference(reference: Path) -> None:
    rows = [json.loads(line) for line in (reference / "answers" / "answers.jsonl").read_text().splitlines()]
    gained = 0
    for row in rows:
        found = score_text(row["text"], row["numbers"], row["target"], Rules(any_order=True))
        assert found.value == float(row["needs_any_order"] == [])
        gained += bool(found.value) > row["sos"]
    assert gained >= 4


READ = [
    *("**{}**", "*{}*", "_{}_", "`{}`", '"{}"', "'{}'", "“{}”", "{}.", "{}...", "{} ✅", "So {} works", "{} = 475!"),
    *("The answer is {}.", "Answer - {}", "Answer – {}", "Answer:{}", "answer = {}", "475 = {}", "${}$", "$${}$$"),
    *("\\[{}\\]", "(so {})", "({} is right)", "{} (uses each number once)", "> {}", "# Answer\n{}", "- {}", "1. {}"),
    *("<b>{}</b>", "<p>{}</p>", "{}<|im_end|>", "```python\n{}\n```", "* {}", "(((({}))))", '{{"answer": "{}"}}'),
    *("The numbers are [83, 64, 25] and the target 475: {}", "{} equals 475", "Therefore, {} = 475 is it.", "\ufeff{}"),
    *("I tried 83 + 64 + 25 = 172. Not 475.\nSo {}", "<think>hm 83 + 64</think> {}", "83 + 64</think> {}", "1) {}"),
    *("{} \\checkmark", "83 - 64 = 19\n19 * 25 = 475\nSo {} = 475", "Option: {}", "{}, which is 475.", "x = {}"),
    *("<answer>{}</answer>", "<answer>**{}**</answer>", "<answer>`{}`</answer>", "<answer>${}$</answer>"),
    *("<answer>{}.</answer>", "<answer>475 = {}</answer>", "<answer>\n{} = 475\n</answer>", "<Answer >{}</ANSWER>"),
    *("<answer>\\boxed{{{}}}</answer>", "<answer>$\\boxed{{{}}}$</answer>", "<answer>83</answer> <answer>{}</answer>"),
    *("<answer>no <answer>{}</answer></answer>", "<answer>{}</answer> <answer>83 +", "<answer>{}</answer><|im_end|>"),
    *("\\boxed{{{} = 475}}", "$\\boxed{{{}}}$", "It is {} = \\boxed{{475}}", "$${} = \\boxed{{475}}$$", "\\fbox{{{}}}"),
    *(
        "\\boxed{{\\text{{{}}}}}",
        "\\boxed{{83}} \\boxed{{{}}}",
        "\\boxed{{\\boxed{{{}}}}}",
        "\\boxed{{83}} <answer>{}</answer>",
    ),
]


@pytest.mark.parametrize("form", READ)
def test_an_answer_is_found(form: str) -> None:
    text = form.format(RIGHT)
    found = score(text)
    assert found.reason == "right", found
    assert found.needs == ()
    assert text[found.position :].startswith(found.answer)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "(83 − 64) × 25",
            "（83－64）＊25",
            "(83 - 64) x 25",
            "(83-64)x25",
            "[83 - 64] * 25",
            "(83\u00a0- 64)\u2009* 25",
        ),
        *(
            "(+83 - 64) * 25",
            "\\left(83 - 64\\right) \\cdot 25",
            "\\boxed{(83 - 64) \\times 25}",
            "(83 ‐ 64) ∙ 25",
            "(83 - 64) \\* 25",
        ),
        *("83-64=19, 19*25=475", "83-64=19; 19*25=475", "83-64=19\n19*25=475", "1) 83-64=19\n2) 19*25=475"),
        *("- 83-64=19\n- 19*25=475", "* 83 - 64 = 19\n* 19 * 25 = 475", "Step 1: 83-64=19\nStep 2: 19*25=475"),
        *('["83-64=19", "19*25=475"]', "<answer>83-64=19\n19*25=475</answer>", "\\boxed{83-64=19, 19*25=475}"),
        *("83-64=19,19*25=475", "[83-64=19, 19*25=475]", "First 83-64=19, then 19*25=475", "83-64=19. 19*25=475."),
        *("(83 - 64) * 25 = 19 * 25 = 475", "(83\n- 64) * 25", "(83 - 64)\n* 25", "<answer>(83 - 64)\n* 25</answer>"),
    ],
)
def test_signs_and_steps_are_read(text: str) -> None:
    assert score(text).reason == "right", score(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *(
            (f"<answer>{RIGHT}", "no_answer"),
            (f"<answer>{RIGHT}<answer>", "no_answer"),
            (f"<think>{RIGHT}", "no_answer"),
        ),
        *((f"<think>{RIGHT}</think> no", "no_answer"), (f"{RIGHT}</think>", "no_answer"), ("475", "no_answer")),
        *((f"\\boxed{{{RIGHT}", "no_answer"), ("\\boxed{475} " + RIGHT, "no_answer")),
        *(("= 475", "no_answer"), ("<answer>475</answer>", "no_answer"), ("\\boxed{475}", "no_answer")),
        *(
            ("(83 plus 64) minus 25", "no_answer"),
            ("(83.0 - 64) * 25", "no_answer"),
            ("(83. - 64.) * 25.", "no_answer"),
        ),
        *(("(083 - 64) * 25", "no_answer"), ("(8_3 - 64) * 25", "no_answer"), ("(83 - 64)25", "no_answer")),
        *(("(83 - 64)(25)", "no_answer"), ("((83 - 64) * 25", "no_answer"), ("(83 - 64)) * 25", "no_answer")),
        *(("(83 - 64] * 25", "no_answer"), ("{83 - 64} * 25", "no_answer"), ("<83 - 64> * 25", "no_answer")),
        *(("(83 - 64) ** 25", "operator"), ("(83 - 64) % 25", "operator"), ("(83 - 64) * 25!", "operator")),
        *(("(83 - 64) // 25", "operator"), ("|83 - 64| * 25", "operator"), ("√83 - 64 * 25", "operator")),
        *(("abs(64 - 83) * 25", "operator"), ("(83 - 64) : 25", "no_answer"), ("83 ➖ 64", "no_answer")),
        *(
            ("Option A: (83 - 64) * 25. Option B: 83 + 64.", "no_answer"),
            (f"<answer>It is {RIGHT}</answer>", "no_answer"),
        ),
        *(
            (f"<answer>{RIGHT}, 83 + 64</answer>", "no_answer"),
            (f"<answer>{RIGHT}</answer><answer></answer>", "no_answer"),
        ),
        *((f"{RIGHT} = 476", "no_answer"), (f"{RIGHT} == 475", "no_answer"), ("83 - 64 = 19 * 25 = 475", "no_answer")),
        *((f'eval("{RIGHT}")', "no_answer"), (f"print({RIGHT})", "no_answer"), (f"lambda: {RIGHT}", "no_answer")),
        *(
            (f"{RIGHT} # done", "no_answer"),
            (f"{RIGHT} if True else 0", "no_answer"),
            (f"None() or {RIGHT}", "no_answer"),
        ),
        *(("83 64 - 25 *", "no_answer"), ("٨٣ - 64 * 25", "no_answer"), ("(83 - 64) * 2 5", "no_answer")),
        *(("(83 - 64) × 25,000", "no_answer"), ('"(83 - 64)" * 25', "no_answer"), ("x + (83 - 64) * 25", "no_answer")),
        *(("83-64=18, 18*25=475", "wrong_step"), ("83-64=19, 19*25=475, 475+0=475", "number_not_given")),
        *(("83-64=19, 19*25=475, 475*25=475", "number_reused"), (f"{RIGHT} + 25 - 25", "number_reused")),
        *(
            (f"{RIGHT} + 1 - 1", "number_not_given"),
            ("83 - 64 * 25", "wrong_value"),
            ("25 / (64 - 64)", "number_reused"),
        ),
        *(("83 / (64 - 64)", "number_reused"), ("(83 - 83) / 25", "number_reused"), ("500 - 25", "number_not_given")),
        *(("", "no_answer"), ("()", "no_answer"), ("+", "no_answer"), ("<answer>()</answer>", "no_answer")),
    ],
)
def test_what_is_no_right_answer(text: str, reason: str) -> None:
    found = score(text)
    assert (found.value, found.reason) == (0.0, reason), found
    assert found.message
    assert not score(text, Rules(negatives=True, fractions=True, subset=True, any_order=True)).value


@pytest.mark.parametrize(
    ("text", "numbers", "target", "needs", "best"),
    [
        ("2 - 4 + 61", [2, 4, 61], 59, ("negatives",), ()),
        ("55 / 45 * 45", [55, 45, 45], 55, ("fractions",), ()),
        ("76 * (3 + 55 / 44)", [76, 3, 55, 44], 323, ("fractions",), ("fractions",)),
        ("-(-13 - 72) - 7", [13, 72, 7], 78, ("negatives",), ()),
        ("-3 * 4 + 20", [3, 4, 20], 8, ("negatives",), ()),
        ("0 / 5 + 3", [0, 5, 3], 3, (), ()),
        ("0 / 5 * 3 + 3", [0, 5, 3, 3], 3, (), ()),
        ("5-8=-3, -3+10=7", [5, 8, 10], 7, ("negatives",), ("negatives",)),
        ("20", [20, 9, 12], 20, ("subset",), ("subset",)),
        ("8 / 3 * 6 - 9", [8, 3, 6, 9, 1], 7, ("fractions", "subset"), ("subset",)),
    ],
)
def test_what_an_answer_needs(
    text: str, numbers: list[int], target: int, needs: tuple[str, ...], best: tuple[str, ...]
) -> None:
    found = score_text(text, numbers, target)
    assert (found.needs, found.needs_any_order, found.value) == (needs, best, float(not needs)), found
    assert score_text(text, numbers, target, Rules(any_order=True)).value == float(not best)
    assert score_text(text, numbers, target, Rules(negatives=True, fractions=True, subset=True)).value == 1.0
    for name in needs:
        allowed = dict.fromkeys(needs, True) | {name: False}
        assert score_text(text, numbers, target, Rules(**allowed)).reason == name


def test_rules_of_marks_and_of_size() -> None:
    assert score(RIGHT, Rules(unmarked=False)).reason == "unmarked"
    for text in (f"<answer>{RIGHT}</answer>", f"\\boxed{{{RIGHT}}}"):
        assert score(text, Rules(unmarked=False)).reason == "right"
    assert score(RIGHT, Rules(max_value=475)).reason == "right"
    assert score(RIGHT, Rules(max_value=474)).reason == "max_value"


def test_a_batch_is_its_texts_one_by_one() -> None:
    texts = [RIGHT, "1 + 1", ""]
    assert score_texts(texts, [NUMBERS] * 3, [TARGET] * 3) == [score(text) for text in texts]


def test_random_trees_are_judged_as_the_naive_oracle_does() -> None:
    rng = random.Random(1)
    seen: Counter[str] = Counter()
    for _ in range(2_000):
        numbers = [rng.choice([0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 12]) for _ in range(rng.randint(2, 5))]
        used = rng.sample(numbers, len(numbers))
        damage = rng.random()
        used = (
            used[1:]
            if damage < 0.1
            else [*used, used[0]]
            if damage < 0.15
            else [7, *used[1:]]
            if damage < 0.2
            else used
        )
        tree = random_tree(rng, used)
        try:
            value = value_of(tree, [])
        except ZeroDivisionError:
            value = 5
        target = int(value) + (rng.random() < 0.1)
        if isinstance(tree, int) or (tree[0] == "neg" and len(used) == 1):
            continue
        found = score_text(f"<answer>{text_of(rng, tree)}</answer>", numbers, target)
        faults, needs, best = judge(tree, numbers, target)
        assert set(found.faults) == faults, (tree, found)
        assert needs == (None if found.needs is None else set(found.needs)), (tree, found)
        assert best == (None if found.needs_any_order is None else set(found.needs_any_order)), (tree, found)
        seen[found.reason] += 1
    assert seen.total() > 1_800
    assert all(seen[name] > 15 for name in ("right", "negatives", "fractions", "wrong_value", "number_not_given")), seen


def test_no_text_raises() -> None:
    rng = random.Random(2)
    seen: Counter[str] = Counter()
    for _ in range(4_000):
        text = random_text(rng)
        found = score_text(text, [3, 4, 5], rng.choice([7, 12, 8]))
        assert found.value in (0.0, 1.0)
        assert found.reason in {*REASONS, "right"}
        assert -1 <= found.position <= len(text)
        assert is_tagged(text) in (True, False)
        seen[found.reason] += 1
    assert seen.total() == 4_000
    assert len(seen) >= 8, seen


@pytest.mark.parametrize("name", long_texts(100))
def test_long_texts_come_to_an_end(name: str) -> None:
    """`tests/bench/answers.py` measures that the time is linear."""
    text = long_texts(20_000)[name]
    assert len(text) > 14_000
    for made in (text, f"<answer>{text}</answer>", f"\\boxed{{{text}}}"):
        assert score_text(made, [3, 4], 7).value == 0.0


def test_right_answers_stay_right_when_they_are_long() -> None:
    nested = "(" * 50_000 + RIGHT + ")" * 50_000
    spaced = RIGHT.replace(" ", " " * 30_000)
    for text in (nested, spaced, f"<answer>{nested}</answer>", f"<answer>{spaced}</answer>", "word " * 20_000 + RIGHT):
        assert len(text) > 99_000
        assert score(text).reason == "right"
    thought = "<think>" + "3 + 4 = 7. " * 10_000
    for text in (f"{thought}</think>{RIGHT}", f"{thought}</think><answer>{RIGHT}</answer>"):
        assert score(text).reason == "right"


def test_the_limits_are_those_that_are_documented() -> None:
    ones = [1] * MOST_NUMBERS
    assert score_text(" + ".join(["1"] * MOST_NUMBERS), ones, MOST_NUMBERS).value == 1.0
    found = score_text(" + ".join(["1"] * (MOST_NUMBERS + 1)), [*ones, 1], MOST_NUMBERS + 1)
    assert (found.reason, found.message) == ("no_answer", "no answer: it is longer than is read")
    blanks = " " * (MOST_CHARACTERS - len(RIGHT))
    assert score(blanks + RIGHT).value == 1.0
    assert score(blanks + RIGHT + " ").message == "no answer: it is longer than is read"
    large = [10**99] * 20
    assert score_text(" * ".join(map(str, large[:12])), large[:12], 10 ** (99 * 12)).value == 1.0
    assert score_text(" * ".join(map(str, large)), large, 1).reason == "too_large"


def test_an_expression_is_read_without_recursion_and_whole() -> None:
    for text in ("1 +", "* 1", "1 2", "(1", "1)", "(1]", "()", "", "1 + ()"):
        with pytest.raises(Malformed):
            parse(tokens_of(text))
    assert work(parse(tokens_of("-2 * -3 - -(1 - 2)"))).value == 5
    assert work(parse(tokens_of("2 - 3 - 4"))).value == -5
    assert work(parse(tokens_of("24 / 4 / 2"))).value == 3
    assert read_answer("2 - 3").statements[0].sides[0].numbers == [2, 3]  # type: ignore[union-attr]
