"""Streams of Sokoban: read back, and judged as by the oracle, damaged ones as well."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from drivers import damaged_verdicts, tokenize
from hand_made_levels import level_of
from naive import costs as naive_costs
from naive import sokoban as naive
from places import ROOT
from sizes import INTERPRETED, plain

from sos.compose import compose
from sos.data.splits import make_splits, sample_problems
from sos.envs.sokoban.rules import Sokoban
from sos.envs.words import words_of
from sos.search import AStar, DepthFirst
from sos.search.run import run_search
from sos.stream.codec import DecodeStatus, decode, encode
from sos.stream.dialect.compile import Dialect, load_dialect
from sos.stream.read.places import places
from sos.stream.verify import Error, Verdict, verify
from sos.stream.viewing import view_trace
from sos.stream.views import VIEWS, View
from sos.system import build_system
from sos.trace import KIND, Event, Trace

WHOLE_MAX = 99
# Sokoban's rules make reader and verifier two minutes to compile: tests/test_plain.py runs this file as plain Python.
pytestmark = [] if INTERPRETED else [pytest.mark.slow]
ENVS = [
    Sokoban(6, 6, 1, 1, 3),
    Sokoban(7, 6, 1, 1, 3, show_dead_ends=True),
    Sokoban(6, 7, 2, 1, 3, pushes=True, show_dead_ends=True),
]
SEARCHES = [
    AStar(1),
    AStar(1, ties=3, shuffle=True),
    AStar(0),
    DepthFirst(heuristic=1, skip_seen=True, announce_leaves=False),
]


def dialect_of(env: Sokoban) -> Dialect:
    return load_dialect("compact", env, WHOLE_MAX, True)


def problems_of(env: Sokoban, num: int, seed: int = 3) -> np.ndarray:
    return sample_problems(env, make_splits(env, 0.2, 0.0), "train", num, seed=seed)


class Placed:
    """What `naive.costs` asks of a level; a place is a tuple of the numbers of the worker and the boxes."""

    def __init__(self, level: naive.Level) -> None:
        self.level = level
        self.start = (level.number(level.start.worker), *naive.numbers(level, level.start.boxes))

    def status(self, place: tuple[int, ...]) -> str:
        return naive.status(self.level, [*place, 0, 0])

    def facts(self, place: tuple[int, ...]) -> list[int]:
        return [max(0, naive.estimate(self.level, self.level.start.boxes))]

    def row(self, state: list) -> list[int]:  # type: ignore[type-arg]
        return [*state[0], *state[1:]]

    def judge(self, _: object, __: object, state: list, action: list[int]) -> int:  # type: ignore[type-arg]
        return naive.judge(self.level, self.row(state), action)

    def child(self, state: list, action: list[int]) -> list:  # type: ignore[type-arg]
        return placed(naive.child_of(self.level, self.row(state), action))

    def stuck(self, state: list) -> set[int]:  # type: ignore[type-arg]
        return naive.stuck(self.level, self.row(state))


def placed(row: list[int]) -> list:  # type: ignore[type-arg]
    return [tuple(row[:-2]), *row[-2:]]


class Rows:
    """Rows of a trace, as `naive.costs` reads them."""

    def __init__(self, rows: list) -> None:  # type: ignore[type-arg]
        self.rows = rows

    def __getitem__(self, at):  # type: ignore[no-untyped-def]
        if isinstance(at, tuple):
            found = self.rows[at[0]][at[1]]
            return Rows(found) if isinstance(at[1], slice) else found
        return Rows(self.rows[at])

    def tolist(self) -> list:  # type: ignore[type-arg]
        return self.rows


def judged(env: Sokoban, trace: Trace) -> Verdict:
    """Verify a trace; the oracle says the same of it."""
    verdict, level = verify(env, trace), Placed(level_of(env, trace.problem))
    states = Rows([placed(row) for row in trace.states.tolist()])
    found = naive_costs.verify(
        level,  # type: ignore[arg-type]
        level.facts,  # type: ignore[arg-type]
        trace._replace(states=states, nodes=Rows(trace.nodes.tolist())),  # type: ignore[arg-type]
        level.judge,
        level.child,
        level.stuck,
    )
    assert (verdict.solved, verdict.errors.tolist()) == (found.solved, found.codes)
    assert (verdict.planned, verdict.cost, verdict.plan_cost) == (found.planned, found.cost, found.plan_cost)
    return verdict


@pytest.mark.parametrize("env", ENVS)
def test_streams_of_all_searches_and_views_read_back(env: Sokoban) -> None:
    dialect, tried, kinds = dialect_of(env), 0, set()
    for row in problems_of(env, plain(4, 1)):
        for strategy in SEARCHES:
            trace = run_search(strategy, env, row, env.tree_nodes)
            for view in range(len(VIEWS) - 1):
                shown = view_trace(View(view, 0.3, True), env, trace, key=tried)
                tokens, align, _ = encode(dialect, shown)
                found = decode(dialect, env, tokens)
                assert found.status == DecodeStatus.OK
                assert found.trace.equals(shown), (VIEWS[view], dialect.text(tokens))
                assert np.array_equal(found.align, align)
                assert tokenize(dialect.vocab.tokenizer(), dialect.text(tokens)).tolist() == tokens.tolist()
                verdict = judged(env, shown)
                assert set(verdict.errors.tolist()) <= {0, Error.UNANNOUNCED if VIEWS[view] == "no_backtrack" else 0}
                assert verdict.planned
                assert len(places(dialect, env, tokens)) == len(tokens)
                kinds |= set(shown.events[:, KIND].tolist())
                tried += 1
    assert tried == plain(4, 1) * len(SEARCHES) * (len(VIEWS) - 1)
    missing = set(Event) - kinds
    assert missing <= (set() if env.show_dead_ends and plain(True, False) else {Event.DEAD_END, Event.BACKTRACK})


def hostile(env: Sokoban, num: int, seed: int) -> Counter[str]:
    """Judge damaged streams as the oracle does; return what came of them."""
    rng, dialect = np.random.default_rng(seed), dialect_of(env)
    streams = []
    for row in problems_of(env, min(num // 5 + 1, 400), seed):
        strategy = SEARCHES[int(rng.integers(3))]
        view = View(VIEWS.index("plan_only") if rng.random() < 0.2 else 0, 1.0, True)
        streams.append((row, encode(dialect, view_trace(view, env, run_search(strategy, env, row, 3000)))[0]))
    return damaged_verdicts(rng, dialect, streams, num, lambda trace: judged(env, trace))


@pytest.mark.parametrize("env", ENVS)
def test_damaged_streams_are_judged_as_the_oracle_judges_them(env: Sokoban) -> None:
    counts = hostile(env, plain(600, 20), 0)
    expected = ["unread", "solved", "planned", "OPERAND", "ILLEGAL", "ARITHMETIC", "STATE", "JUMP", "ORDER"]
    assert all(counts[key] > 0 for key in expected) or not plain(True, False), counts
    assert counts["VALUE"] > 0 or not env.show_dead_ends or not plain(True, False), counts


@pytest.mark.slow
@pytest.mark.parametrize("env", ENVS)
def test_a_hundred_thousand_damaged_streams_are_judged_as_the_oracle_judges_them(env: Sokoban) -> None:
    counts = hostile(env, plain(33_334, 20), 1)
    assert counts["solved"] > plain(1000, -1)
    assert counts["planned"] > plain(1000, -1)


def test_the_level_of_the_document_is_what_the_code_writes() -> None:
    page = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
    page = page[page.index("## Sokoban") + 1 :].partition("\n## ")[0]
    (text,) = (
        text.strip() for language, text in re.findall(r"^```(\w*)\n(.*?)^```$", page, re.M | re.S) if not language
    )
    walls, docks, boxes, worker = ([int(n) for n in part.split()] for part in text.partition(" =")[0].split("/"))
    system = build_system(compose(["experiment=sokoban", "env.boxes=1"]))
    problem = np.array(system.env.row(worker[0], boxes, docks, walls), np.int32)
    trace = view_trace(system.view, system.env, run_search(system.strategy, system.env, problem, 200))
    assert system.dialect.text(encode(system.dialect, trace)[0]) == text
    level = re.search(r"`(#+\|.*?)`", page)
    assert level is not None
    assert words_of(Sokoban(7, 6, 2, 1, 3)).parse_problem(level.group(1)).shape == (10,)
