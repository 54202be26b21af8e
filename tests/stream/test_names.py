"""Nodes named by their states, and by paths of any length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sizes import plain

from sos.data.splits import make_splits, sample_problems
from sos.envs.path_star.rules import PathStar
from sos.errors import UserError
from sos.search.best_first import BestFirst
from sos.search.depth_first import DepthFirst
from sos.search.run import run_search
from sos.stream.codec import decode, encode
from sos.stream.dialect.compile import compile_dialect
from sos.stream.dialect.source import load_source
from sos.stream.verify import Error, verify, verify_tokens
from sos.trace import KIND, NODE, STATE, Event, Trace

STAR = PathStar(num_arms=3, arm_nodes=5, num_labels=20)
DEEP = PathStar(num_arms=2, arm_nodes=32, num_labels=70)
BY_STATE = {"backtrack": "< {node}", "jump": "@ {node}"}
BY_PATH = {"expand": "[ {node}", "backtrack": "< {path}", "jump": "@ {path} : {node}"}


def dialect_of(env: PathStar, **forms: str) -> Any:
    _, source = load_source("compact", env)
    return compile_dialect(source | {"forms": source["forms"] | forms}, env, 99)


def searches(env: PathStar) -> list[Trace]:
    problems = sample_problems(env, make_splits(env, 0.1, 0.0), "train", plain(60, 3))
    strategies = (DepthFirst(), BestFirst())
    return [run_search(strategy, env, problem, 2000) for problem in problems for strategy in strategies]


@pytest.mark.parametrize(
    ("env", "forms"),
    [(STAR, BY_STATE | {"expand": "[ {node}"}), (STAR, BY_PATH), (DEEP, BY_PATH), (DEEP, BY_STATE | {"expand": "["})],
)
def test_streams_whose_nodes_have_such_names_read_back(env: PathStar, forms: dict[str, str]) -> None:
    dialect, kinds, tried = dialect_of(env, **forms), set(), 0
    for trace in searches(env):
        tokens, align, _ = encode(dialect, trace)
        found = decode(dialect, env, tokens)
        assert found.trace.equals(trace), dialect.text(tokens)
        assert np.array_equal(found.align, align)
        kinds |= set(trace.events[:, KIND].tolist())
        tried += 1
    assert tried == 2 * plain(60, 3)
    assert Event.BACKTRACK in kinds


def test_a_state_of_no_node_is_an_impossible_jump() -> None:
    dialect = dialect_of(STAR, expand="[", **BY_STATE)
    trace = next(trace for trace in searches(STAR) if (trace.events[:, KIND] == Event.BACKTRACK).any())
    tokens, align, _ = encode(dialect, trace)
    back = int(np.flatnonzero(trace.events[:, KIND] == Event.BACKTRACK)[0])
    absent = next(n for n in range(20) if n not in trace.states[:, 0])
    wrong = tokens.copy()
    wrong[np.flatnonzero(align == back)[-1]] = dialect.vocab.number_ids(absent)[0]
    verdict = verify_tokens(dialect, STAR, trace.problem, wrong)[0]
    assert verdict.errors[back] == Error.JUMP


def test_of_two_nodes_in_one_state_the_later_one_is_meant() -> None:
    dialect = dialect_of(STAR, expand="[", **BY_STATE)
    trace = next(trace for trace in searches(STAR) if (trace.events[:, KIND] == Event.BACKTRACK).any())
    back = int(np.flatnonzero(trace.events[:, KIND] == Event.BACKTRACK)[0])
    last = int(trace.events[trace.events[:back, KIND].tolist().index(Event.GENERATE), NODE])
    states = trace.states.copy()
    states[last] = trace.states[trace.events[back, STATE]]  # the first node claims to be where the return goes
    with pytest.raises(UserError, match="one that was generated later is in the same state"):
        encode(dialect, trace._replace(states=states))
    assert verify(STAR, trace).solved or trace.outcome != 0
