"""The page shows any environment in its own words: one that knows no numbers, and the sources that name none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, find_chromium
from places import ROOT
from toy_maze import EDGES, PLACES, Maze, MazeWords, walk

from sos.envs.countdown.rules import Countdown
from sos.envs.words import words_of
from sos.stream.dialect.compile import load_dialect
from sos.stream.verify import Error
from sos.view.page import build_page, trace_data
from sos.view.sentences import WORDS, explain_mistakes, mistake_names

DIALECT = load_dialect("compact", Countdown(num_numbers=3, max_number=20, max_target=100, max_value=120), 120)
# What Countdown would say.
OF_COUNTDOWN = re.compile(r"countdown|target|number|operation|\bmake\b|\bholds?\b|\d [×−÷] \d", re.I)


def walk_data(wrong: bool = False) -> dict:
    data: dict = json.loads(json.dumps(trace_data(DIALECT, Maze(), walk(wrong=wrong))))
    return data


def texts_of(value: object) -> list[str]:
    """Return the texts in JSON, without the keys of objects."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return [text for part in parts for text in texts_of(part)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("wrong", [False, True])
def test_a_page_of_another_environment_has_no_word_of_countdown(wrong: bool) -> None:
    data = walk_data(wrong)
    assert data["problem"] == {"given": ["p0"], "goal": "p4", "short": "p0 → p4", "task": "walk from p0 to p4"}
    assert data["says"] == {
        "first": "Walk from p0 to p4.",
        "deadEnd": "p{value} leads nowhere.",
        "goal": "p{value}: out.",
        "holds": "is at",
    }
    assert data["tree"]["states"] == [["p0"], ["p1"], ["p3"], ["p2"], ["p4"]]
    assert data["tree"]["actions"] == ["", "p0 ⇒ p1", "p1 ⇒ p3", "p0 ⇒ p2", "p2 ⇒ p4"]
    assert data["tree"]["results"] == [None] * 5
    assert data["keys"] == ["p0", "p1", "p3", "p2", "p4"]
    expected = {"4": {"name": "no such door", "text": "operand at p3, after 1."}} if wrong else {}
    assert data["mistakes"] == expected
    texts = [text for value in (data | {"drawings": None}).values() for text in texts_of(value)]
    assert len(texts) > 20
    assert not [text for text in texts if OF_COUNTDOWN.search(text)]


def test_what_drawings_share_is_stored_once() -> None:
    drawings = walk_data()["drawings"]
    assert set(drawings["shared"]) == {"kind", "nodes", "edges", "target"}
    assert drawings["of"][2] == {"current": 3, "visited": [0, 1, 3]}
    words, trace = MazeWords(Maze()), walk().trace
    for n in range(5):
        assert drawings["shared"] | drawings["of"][n] == words.draw(trace.problem, trace.states[n])


def test_an_environment_that_draws_nothing_has_no_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MazeWords, "draw", lambda *_: None)
    assert walk_data()["drawings"] is None


def test_every_error_has_a_sentence_of_the_environment_or_of_all() -> None:
    trace = walk().trace
    general = {Error.JUMP, Error.OUTCOME, Error.LABEL, Error.UNANNOUNCED, Error.NOT_FORCED}
    for error in set(Error) - {Error.NONE}:
        errors = np.zeros(len(trace.events), np.int8)
        errors[4] = error
        (text,) = explain_mistakes(Maze(), trace, errors).values() if error != Error.OUTCOME else ("",)
        assert (text == f"{error.name.lower()} at p3, after 1.") == (error not in general), error
    names = mistake_names(words_of(Maze()))
    assert names == WORDS | {Error.OPERAND: "no such door"}


# The drawing in the page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if find_chromium() is None:
        pytest.skip("no Chromium is installed")
    path = tmp_path_factory.mktemp("pages") / "walk.html"
    path.write_text(build_page("A walk", [walk_data(wrong=True)]))
    with Browser() as browser:
        browser.open(path)
        yield browser
        assert browser.errors == []


def ids(browser: Browser, selector: str) -> list[str]:
    found: list[str] = browser.run(f"[...document.querySelectorAll({selector!r})].map(one => one.dataset.id)")
    return found


def test_the_state_where_the_search_is_gets_drawn(page: Browser) -> None:
    page.press("End")
    assert page.run("document.querySelector('.drawing figcaption').textContent") == "node 4: p4"
    assert ids(page, ".drawing g") == [str(id) for id in PLACES]
    assert page.run("document.querySelectorAll('.drawing line').length") == len(EDGES)
    assert page.run("document.querySelectorAll('.drawing line.walked').length") == 2
    assert ids(page, ".drawing .current") == ids(page, ".drawing .target") == ["4"]
    page.press("Home")
    assert (ids(page, ".drawing .current"), ids(page, ".drawing .visited")) == (["0"], ["0"])
    page.hover("#v0-n2 .pill")
    assert (ids(page, ".drawing .current"), ids(page, ".drawing .visited")) == (["3"], ["0", "1", "3"])
    page.hover(".problem")
    assert ids(page, ".drawing .current") == ["0"]


def test_the_places_of_the_drawing_are_those_of_the_data(page: Browser) -> None:
    boxes = page.run(
        "Object.fromEntries([...document.querySelectorAll('.drawing g')].map(one => "
        "[one.dataset.id, one.firstChild.getBoundingClientRect().toJSON()]))"
    )
    frame = page.run("document.querySelector('.drawing svg').getBoundingClientRect().toJSON()")
    for id, (x, y) in PLACES.items():
        box = boxes[str(id)]
        assert frame["left"] <= box["left"] <= box["right"] <= frame["right"] + 1
        middle = [(box["left"] + box["right"]) / 2 - frame["left"], (box["top"] + box["bottom"]) / 2 - frame["top"]]
        share = [(at / frame["width"] - 0.07) / 0.86 for at in middle]
        assert np.allclose(share, [x, y], atol=0.02)


def test_the_page_says_nothing_of_countdown(page: Browser) -> None:
    for event in range(11):
        page.press("Home")
        page.press("ArrowRight", event)
        shown = page.run("document.body.innerText + [...document.querySelectorAll('[aria-label]')]"
                         ".map(one => one.getAttribute('aria-label')).join(' ')")  # fmt: skip
        assert "p4" in shown
        assert not OF_COUNTDOWN.findall(shown)
    page.press("Home")
    assert page.run("document.querySelector('.says').textContent") == "Event 0 Walk from p0 to p4."


# The sources

LOOKED_AT = ("sos/view/*.py", "sos/view/assets/*", "sos/interop/datasets.py", "sos/datasets/files.py")
WORD = re.compile(r"countdown|\btargets?\b|(?<!-)\bnum(ber)?s\b|\boperations?\b|\boperands?\b", re.I)
# What a line may say -> why it is not about Countdown.
ALLOWED = {
    r"(event|entry)\.target|nodeAt\(target\)|target\.closest": "an element of the page",
    r"current, target|id === target|target: id|to \$\{target\}|\.drawing \.(current\.)?target": "the node to be reached",
    r"cell === goal && .target.|\.start rect, \.drawing \.target": "the cell of a drawing to be reached",
    r"stream\.numbers|numbers as digits": "how a dialect writes numbers, a key of the configuration",
    r"index must be numbers|are numbers: node n was": "indices",
    r"whole numbers|row of numbers from": "what a file holds",
    r"Error\.OPERAND": "the name of an error",
}


def test_the_sources_that_show_know_no_environment() -> None:
    paths = sorted(path for pattern in LOOKED_AT for path in ROOT.glob(pattern) if path.is_file())
    assert len(paths) > 12
    used: set[str] = set()
    found = []
    for path in paths:
        for line_number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
            rest = line
            for pattern in ALLOWED:
                rest, num = re.subn(pattern, "", rest)
                used |= {pattern} if num else set()
            if WORD.search(rest):
                found.append(f"{path.relative_to(ROOT)}:{line_number}: {line.strip()}")
    assert not found, "\n".join(found)
    assert used == set(ALLOWED)
