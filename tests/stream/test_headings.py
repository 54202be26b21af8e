"""What a search and a plan may begin with, what a plan may leave out, and a goal that is not announced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drivers import tokenize
from sizes import plain

from sos.data.splits import make_splits, sample_problems
from sos.envs.layered.rules import Layered
from sos.envs.maze.rules import Maze
from sos.envs.path_star.rules import PathStar
from sos.errors import UserError
from sos.search.depth_first import DepthFirst
from sos.search.run import run_search
from sos.stream.codec import DecodeStatus, decode, encode
from sos.stream.dialect.compile import Dialect, compile_dialect
from sos.stream.dialect.source import load_source
from sos.stream.read.places import places
from sos.stream.verify import Error, verify
from sos.stream.viewing import view_trace
from sos.stream.views import VIEWS, View

STAR = PathStar(num_arms=3, arm_nodes=4, num_labels=20)
HEADINGS = {"begin_search": "from {node}", "begin_plan": "so {start}", "plan": "+ {to}"}


def dialect_of(env: Any, forms: dict[str, str | None], plan: bool = True, name: str = "compact") -> Dialect:
    source = load_source(name, env).source
    changed = {form: text for form, text in (source["forms"] | forms).items() if text is not None}
    return compile_dialect(source | {"forms": changed}, env, 99, plan)


def test_streams_with_headings_read_back() -> None:
    dialect, tried = dialect_of(STAR, HEADINGS), 0
    for row in sample_problems(STAR, make_splits(STAR, 0.1, 0.0), "train", plain(40, 3)):
        trace = run_search(DepthFirst(heuristic=0), STAR, row, 200)
        for view in range(len(VIEWS) - 1):
            shown = view_trace(View(view, 0.5, True), STAR, trace)
            tokens, align, num_prompt = encode(dialect, shown)
            found = decode(dialect, STAR, tokens)
            assert found.trace.equals(shown)
            assert np.array_equal(found.align, align)
            text, start = dialect.text(tokens[num_prompt:]), int(row[0])
            assert text.startswith(f"so {start} + " if VIEWS[view] == "plan_only" else f"from {start} ")
            assert text.count("so") == 1
            assert len(places(dialect, STAR, tokens)) == len(tokens)
            tried += 1
    assert tried == (len(VIEWS) - 1) * plain(40, 3)


def test_a_heading_that_names_another_node_is_a_mistake_of_what_follows() -> None:
    dialect, row = dialect_of(STAR, HEADINGS), sample_problems(STAR, make_splits(STAR, 0.1, 0.0), "train", 1)[0]
    tokens, _, num_prompt = encode(
        dialect, view_trace(View(plan=True), STAR, run_search(DepthFirst(heuristic=0), STAR, row, 200))
    )
    words, other = dialect.text(tokens).split(), str((int(row[0]) + 1) % 20)
    for word, error, planned in (("from", Error.QUOTE, True), ("so", Error.JUMP, False)):
        wrong = list(words)
        wrong[wrong.index(word) + 1] = other
        found = decode(dialect, STAR, tokenize(dialect.vocab.tokenizer(), " ".join(wrong)))
        verdict = verify(STAR, found.trace)
        assert [code for code in verdict.errors.tolist() if code] == [error]
        assert (verdict.solved, verdict.planned) == (True, planned)
        del wrong[wrong.index(word) : wrong.index(word) + 2]
        headless = decode(dialect, STAR, tokenize(dialect.vocab.tokenizer(), " ".join(wrong)))
        assert headless.status == DecodeStatus.MALFORMED
        assert headless.position == num_prompt if word == "from" else headless.position > num_prompt


@pytest.mark.parametrize(
    ("env", "forms", "message"),
    [
        (STAR, {"goal": None}, "form 'goal' is missing"),
        (Maze(), {"goal": None, "expand": None}, "form 'goal' is missing"),
        (Layered(), {"plan": "plan {to}"}, "form 'plan' needs {cost}"),
        (Maze(), {"plan": "+"}, "form 'plan' needs {cell}"),
        (Maze(), {"generate": "{cell}"}, "form 'generate' needs {cost}"),
        (Maze(), {"begin_search": "> {cell}"}, "form 'begin_search' needs {cost}"),
        (Maze(), {"begin_search": "+ {goal}"}, "form 'plan' '. {cell}' can be the beginning of form 'begin_search'"),
        (Maze(), {"begin_search": "from", "begin_plan": "from"}, "can be the beginning of form"),
        (Maze(), {"begin_plan": "> {start} {start} {start}"}, "can be the beginning of form"),
        (Maze(), {"begin_plan": "so {cell}"}, "form 'begin_plan' cannot hold the field {cell}"),
    ],
)
def test_forms_that_cannot_be_are_refused(env: Any, forms: dict[str, str | None], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dialect_of(env, forms)


def test_a_plan_may_begin_with_the_words_that_its_actions_have() -> None:
    dialect = dialect_of(Maze(), {"begin_plan": "+ {start}"})
    assert dialect.templates["begin_plan"] == "+ {start}"
    assert "begin_plan" not in dialect_of(Maze(), {"begin_plan": "+ {start}"}, plan=False).templates
