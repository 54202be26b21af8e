"""The page of traces in a headless Chromium: hovering, keys, replay, big trees, two side by side, dark and light.

Skipped where no Chromium is installed (Debian: `apt-get install chromium`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, find_chromium
from drivers import run_search, tokenize

from sos.envs.countdown.rules import Countdown
from sos.search.depth_first import DepthFirst
from sos.stream.dialect.compile import load_dialect
from sos.view.page import build_page, from_tokens, from_trace, trace_data

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed")

ENV = Countdown(num_numbers=3, max_number=20, max_target=100, max_value=120)
BIG_ENV = Countdown(num_numbers=5, max_number=12, max_target=200)
PROBLEM = np.array([47, 3, 2, 17, 15], np.int32)
# Events: 0 root, 1 generate 1, 2 expand 1, 3 generate 2 (wrong result), 4 dead end, 5 return, 6 generate 3, 7 expand 3, 8 generate 4,
# 9 goal, 10 end.
MODEL = "2 17 15 > 47 : 2 * 17 = 34 [ 15 34 ] 34 - 15 = 18 x < 0 [ 2 17 15 ] 2 * 15 = 30 [ 17 30 ] 17 + 30 = 47 !"
WRONG, GOAL, LAST = 3, 9, 10


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's stream with one mistake, and the teacher's search."""
    dialect = load_dialect("compact", ENV, 120)
    model = from_tokens(dialect, ENV, PROBLEM, tokenize(dialect.vocab.tokenizer(), MODEL), "model")
    teacher = from_trace(dialect, ENV, run_search(DepthFirst(1, False, True, False), ENV, PROBLEM), "teacher")
    path = tmp_path_factory.mktemp("pages") / "small.html"
    path.write_text(build_page("A page", [trace_data(dialect, ENV, trace) for trace in (model, teacher)]))
    return path


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A search of thousands of nodes without a solution, and how many."""
    dialect = load_dialect("compact", BIG_ENV, 120)
    trace = run_search(DepthFirst(0, False, False, False, 1500), BIG_ENV, np.array([173, 5, 1, 2, 3, 5, 7], np.int32))
    path = tmp_path_factory.mktemp("pages") / "big.html"
    path.write_text(
        build_page("A big page", [trace_data(dialect, BIG_ENV, from_trace(dialect, BIG_ENV, trace, "all"))])
    )
    return path, len(trace.nodes)


@pytest.fixture
def page(browser: Browser, small: Path) -> Iterator[Browser]:
    browser.errors.clear()
    browser.requests.clear()
    browser.open(small)
    yield browser
    assert browser.errors == []
    assert browser.requests == [small.resolve().as_uri()]


def ids(browser: Browser, selector: str) -> list[str]:
    found: list[str] = browser.run(f"[...document.querySelectorAll({selector!r})].map(one => one.id)")
    return found


def text(browser: Browser, selector: str) -> str:
    return str(browser.run(f"document.querySelector({selector!r}).textContent"))


def event(browser: Browser) -> int:
    return int(browser.run("document.querySelector('input[type=range]').value"))


def test_everything_is_drawn(page: Browser) -> None:
    assert text(page, ".problem") == "21715→47"
    assert [text(page, f"[data-node='{n}'] .pill") for n in range(5)] == ["2 17 15", "15 34", "18", "17 30", "47"]
    assert len(ids(page, ".row")) == LAST + 1
    assert ids(page, ".node.solution") == ["v0-n0", "v0-n3", "v0-n4"]
    assert ids(page, ".node.dead") == ["v0-n2"]
    assert ids(page, ".node.wrong") == ["v0-n2"]
    assert text(page, ".node.wrong .mark") == "wrong result"
    assert text(page, ".row.wrong .note") == "wrong result The result is 19, not 18."
    assert "1 mistake" in text(page, ".facts")
    assert ids(page, ".node.current") == ["v0-n4"]
    written = page.run("[...document.querySelectorAll('.token')].map(one => one.textContent).join(' ')")
    assert written == f"<bos> {MODEL} <eos>"


def test_hovering_a_token_lights_its_event_and_node(page: Browser) -> None:
    page.hover(f"#v0-e{WRONG} .token:nth-child(3)")
    assert ids(page, ".row.lit") == [f"v0-e{WRONG}"]
    assert ids(page, ".node.lit") == ["v0-n2"]
    assert text(page, ".token.lit") == "15"
    assert "wrong result: The result is 19, not 18." in text(page, ".says")
    page.hover(".problem")
    assert ids(page, ".row.lit, .node.lit, .token.lit") == []


def test_hovering_a_node_lights_its_events(page: Browser) -> None:
    page.hover("#v0-n1 .pill")
    assert ids(page, ".node.lit") == ["v0-n1"]
    assert ids(page, ".row.lit, .row.same") == ["v0-e1", "v0-e2"]
    assert page.run("document.querySelector('.edges .lit').getAttribute('d').startsWith('M')")
    page.click("#v0-n1 .pill")
    assert event(page) == 1
    assert "v0-n4" in ids(page, ".node.future")


def test_arrow_keys_move_through_the_events(page: Browser) -> None:
    assert event(page) == LAST
    page.press("ArrowLeft", 2)
    assert event(page) == LAST - 2
    assert ids(page, "[role=option][aria-selected=true]") == [f"v0-e{LAST - 2}"]
    page.press("Home")
    assert event(page) == 0
    assert ids(page, ".node.future") == ["v0-n1", "v0-n2", "v0-n3", "v0-n4"]
    page.press("ArrowDown", 5)
    assert event(page) == 5
    assert page.run("document.querySelector('.edges .return').getAttribute('d').length > 0")
    assert text(page, ".says") == "Event 5 Return to node 0: 2, 17, 15."
    page.press("m")
    assert event(page) == WRONG
    page.press("g")
    assert event(page) == GOAL
    page.press("End")
    assert event(page) == LAST


def test_space_replays_and_pauses(page: Browser) -> None:
    page.press("Home")
    page.press(" ")
    page.run("new Promise(done => { const look = () => +document.querySelector('input[type=range]').value > 1"
             " ? done(0) : setTimeout(look, 50); look(); })")  # fmt: skip
    page.press(" ")
    stopped = event(page)
    page.run("new Promise(done => setTimeout(() => done(0), 700))")
    assert 1 < stopped == event(page) < LAST
    assert ids(page, ".playing") == []


def test_tab_order_and_visible_focus(page: Browser) -> None:
    page.run("document.activeElement.blur()")
    order = []
    for _ in range(12):
        page.press("Tab")
        order.append(
            page.run("(one => one.id || one.getAttribute('aria-label') || one.tagName)(document.activeElement)")
        )
        outline = page.run("getComputedStyle(document.activeElement).outlineStyle")
        assert outline in ("solid", "auto"), order
    assert order == [
        "beside", "SUMMARY", "SELECT", "search tree", "stream of tokens, an event per line", "first event", "previous event",
        "replay", "next event", "last event", "BUTTON", "event",
    ]  # fmt: skip


def test_the_tree_by_keyboard(page: Browser) -> None:
    page.run("document.querySelector('[role=tree]').focus()")
    page.settle()

    def active() -> str:
        return str(page.run("document.querySelector('[role=tree]').getAttribute('aria-activedescendant')"))

    assert active() == "v0-n4"
    page.press("ArrowLeft")
    assert active() == "v0-n3"
    assert ids(page, ".node.lit") == ["v0-n3"]
    page.press("ArrowLeft")  # folds
    assert page.run("document.querySelector('#v0-n3').getAttribute('aria-expanded')") == "false"
    assert ids(page, "#v0-n4") == []
    page.press("ArrowRight", 2)  # unfolds, then goes in
    assert active() == "v0-n4"
    page.press("ArrowUp", 2)
    assert active() == "v0-n2"
    label = page.run("document.querySelector('#v0-n2').getAttribute('aria-label')")
    assert label == "node 2; 34 − 15 = 18; 18; wrong result; dead end"
    page.press("Enter")
    assert event(page) == WRONG
    roles = page.run(
        "['aria-level', 'aria-posinset', 'aria-setsize'].map(a => document.querySelector('#v0-n2').getAttribute(a))"
    )
    assert roles == ["3", "1", "1"]


def test_the_stream_by_keyboard(page: Browser) -> None:
    page.run("document.querySelector('.stream').focus()")
    page.press("Home")
    page.press("ArrowDown", 3)
    assert event(page) == WRONG
    page.press("ArrowRight", 3)
    assert (text(page, ".token.lit"), ids(page, ".node.lit")) == ("15", ["v0-n2"])
    page.press("ArrowRight", 3)  # into the next event
    assert (text(page, ".token.lit"), event(page)) == ("x", WRONG + 1)
    page.press("ArrowLeft")
    assert (text(page, ".token.lit"), event(page)) == ("18", WRONG)


def test_side_by_side_lights_equal_states(page: Browser) -> None:
    page.click("#beside")
    assert len(page.run("[...document.querySelectorAll('.view')].map(one => one.className)")) == 2
    page.hover("#v0-n3 .pill")
    twins = ids(page, ".node.twin")
    assert len(twins) == 1
    assert twins[0].startswith("v1-")
    assert text(page, f"#{twins[0]} .pill") == "17 30"
    page.click("#beside")
    assert ids(page, "#v1-n0") == []


def test_a_chosen_trace_is_shown(page: Browser) -> None:
    page.run("(one => { one.value = 1; one.dispatchEvent(new Event('change')); })(document.querySelector('select'))")
    page.settle()
    assert "0 mistakes" in text(page, ".facts")
    assert ids(page, ".node.wrong") == []


def test_dark_and_light(page: Browser) -> None:
    def shades() -> list[int]:
        colors = page.run("['backgroundColor', 'color'].map(name => getComputedStyle(document.body)[name])")
        return [sum(int(part) for part in color[4:-1].split(",")) for color in colors]

    page.emulate(prefers_color_scheme="light")
    paper, ink = shades()
    assert paper > 600 > 200 > ink
    page.emulate(prefers_color_scheme="dark")
    paper, ink = shades()
    assert paper < 200 < 600 < ink


# The least contrast of any text with what lies behind it, by the formula of WCAG 2, and that text.
LEAST_CONTRAST = """(() => {
  const parts = color => (color.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, k) => sum + [0.2126, 0.7152, 0.0722][k] * c, 0);
  const behind = one => { for (; one; one = one.parentElement) {
    const color = parts(getComputedStyle(one).backgroundColor);
    if (color.length < 4 || color[3] === 1) return color; } return [255, 255, 255]; };
  const faded = one => { let left = 1; for (; one; one = one.parentElement) left *= getComputedStyle(one).opacity; return left; };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) { const one = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !one.getClientRects().length || one.matches("script, style, :disabled, .fold")) continue;
    const [a, b] = [light(parts(getComputedStyle(one).color)), light(behind(one))].sort();
    found.push([faded(one) < 0.9 ? 1 : (b + 0.05) / (a + 0.05), walker.currentNode.data]); }
  return [found.length, ...found.sort((x, y) => x[0] - y[0])[0]]; })()"""


def test_every_text_can_be_read_on_what_lies_behind_it(page: Browser) -> None:
    looked_at = 0
    for scheme in ("light", "dark"):
        page.emulate(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
        for keys in (("Home",), ("ArrowRight", "ArrowRight"), ("End",)):
            for key in keys:
                page.press(key)
            num, least, text = page.run(LEAST_CONTRAST)
            assert least >= 4.5, f"{text} in {scheme} behind {keys}: {least:.2f}"
            looked_at += num
    page.emulate(prefers_reduced_motion="no-preference")
    assert looked_at > 200


def test_reduced_motion_moves_nothing(page: Browser) -> None:
    def duration() -> str:
        return str(page.run("getComputedStyle(document.querySelector('.node')).transitionDuration"))

    page.emulate(prefers_reduced_motion="reduce")
    assert duration() == "0s"
    page.emulate(prefers_reduced_motion="no-preference")
    assert duration() != "0s"


def test_a_big_trace_stays_small_in_the_document(browser: Browser, big: tuple[Path, int]) -> None:
    path, num_nodes = big
    assert num_nodes > 2000
    browser.errors.clear()
    browser.open(path)

    def count(selector: str) -> int:
        return int(browser.run(f"document.querySelectorAll({selector!r}).length"))

    assert count(".fold:not(.open)") > 3  # dead branches start folded
    browser.click("[data-fold=none]")
    assert browser.run("document.querySelector('.extent').offsetHeight") > 30 * num_nodes / 4
    for share in (0.0, 0.37, 1.0):
        browser.run(f"(one => one.scrollTop = {share} * one.scrollHeight)(document.querySelector('.tree'))")
        browser.run(f"(one => one.scrollTop = {share} * one.scrollHeight)(document.querySelector('.stream'))")
        browser.run("new Promise(done => setTimeout(() => done(0), 200))")
        assert 10 < count(".node") < 200
        assert 10 < count(".row") < 600
    # The root stays in sight wherever one looks.
    assert browser.run(
        "(box => box.top > 0 && box.bottom < innerHeight)(document.querySelector('#v0-n0').getBoundingClientRect())"
    )
    browser.press("Home")
    browser.press("ArrowRight", 40)
    current = browser.run("document.querySelector('.node.current').getBoundingClientRect().toJSON()")
    tree = browser.run("document.querySelector('.tree').getBoundingClientRect().toJSON()")
    assert tree["top"] <= current["top"] <= current["bottom"] <= tree["bottom"]
    row = browser.run("document.querySelector('.row.current').getBoundingClientRect().toJSON()")
    assert tree["top"] <= row["top"] <= row["bottom"] <= tree["bottom"]
    assert browser.errors == []


def crossing(browser: Browser) -> bool:
    """Whether the drawing of a state lies over its node."""
    boxes = [browser.run(f"document.querySelector({what!r}).getBoundingClientRect().toJSON()") for what in SHOWN]
    (a, b) = boxes
    return all(a[low] < b[high] and b[low] < a[high] for low, high in (("left", "right"), ("top", "bottom")))


SHOWN = (".node.current .pill", ".drawing")


def test_a_narrow_page_fits_and_its_drawing_hides_no_node(browser: Browser, tmp_path: Path) -> None:
    """A trace with a drawing of each state, as some environments have, and a problem whose words are long."""
    dialect = load_dialect("compact", ENV, 120)
    trace = run_search(DepthFirst(0, False, False, False, 1500), ENV, np.array([47, 3, 2, 17, 15], np.int32))
    data = trace_data(dialect, ENV, from_trace(dialect, ENV, trace, "drawn"))
    shared = {"kind": "grid", "box": [2, 2], "given": [1] * 16}
    data["drawings"] = {"shared": shared, "of": [{"digits": [1] * 16}] * len(trace.nodes)}
    data["problem"]["given"] = ["11 to 3 at a cost of 3"] * 6
    path = tmp_path / "drawn.html"
    path.write_text(build_page("A drawn page", [data]))
    raised = lower = 0
    try:
        for width, height in ((390, 844), (1280, 520)):
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            browser.send("Emulation.setDeviceMetricsOverride", **size)
            browser.open(path)
            assert browser.run("document.documentElement.scrollWidth") <= width
            browser.press("Home")
            for _ in range(len(trace.events)):
                assert not crossing(browser)
                up = browser.run("document.querySelector('.drawing').classList.contains('up')")
                raised, lower = raised + up, lower + (not up)
                browser.press("ArrowRight")
    finally:
        browser.send("Emulation.clearDeviceMetricsOverride")
    assert raised > 5
    assert lower > 5
    assert browser.errors == []
