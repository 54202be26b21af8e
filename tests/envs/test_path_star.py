"""Tests of path-star: against its oracle, networkx and the published lines; damaged streams; and that no cue is left."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pytest
from drivers import hash_kernel
from naive import path_star as naive
from sizes import plain

from sos.data.splits import make_splits, sample_problems
from sos.envs import protocol
from sos.envs.path_star.config import PathStarConfig
from sos.envs.path_star.rules import PathStar
from sos.errors import UserError
from sos.search import DepthFirst
from sos.search.run import run_search
from sos.stream.codec import DecodeStatus, decode, encode
from sos.stream.dialect.compile import Dialect, load_dialect
from sos.stream.verify import Error, verify
from sos.stream.viewing import view_trace
from sos.stream.views import VIEWS, View
from sos.trace import ACTION, KIND, NODE, PARENT, Event, Trace

SEARCH = DepthFirst(heuristic=0, use_threshold=False, skip_seen=True, announce_leaves=False)
SIZES = [
    PathStar(2, 2, 5),
    PathStar(2, 3, 10),
    PathStar(4, 4, 30),
    PathStar(4, 5, 50),
    PathStar(3, 2, 7),
    PathStar(10, 5, 60),
    PathStar(4, 4, 30, 2, 2),
    PathStar(3, 5, 20, 0, 3),
]
DIALECTS = ("compact", "checked", "published")


def problems_of(env: PathStar, num: int, split: str = "train") -> np.ndarray:
    return sample_problems(env, make_splits(env, 0.2, 0.0), split, num, seed=3)


def row_of(problem: naive.Problem, env: PathStar | None = None) -> np.ndarray:
    start, target, edges = problem
    labels = [start, target, *(label for edge in edges for label in edge)]
    if env is not None and (env.min_arms or env.min_arm_nodes):
        labels += [0] * (2 + 2 * env.num_edges - len(labels)) + [len(edges)]
    return np.array(labels, np.int32)


def drawn(rng: random.Random, env: PathStar) -> naive.Problem:
    """Draw a star of a size that `env` has."""
    arms = rng.randint(env.min_arms or env.num_arms, env.num_arms)
    return naive.draw(rng, arms, rng.randint(env.min_arm_nodes or env.arm_nodes, env.arm_nodes), env.num_labels)


@pytest.mark.parametrize("env", SIZES)
def test_searches_are_the_oracles(env: PathStar) -> None:
    dialect, rng, tried = load_dialect("compact", env, 99), random.Random(1), 0
    for problem in [drawn(rng, env) for _ in range(plain(40, 4))]:
        trace = run_search(SEARCH, env, row_of(problem, env), 500)
        tokens, _, _ = encode(dialect, trace)
        assert dialect.text(tokens) == naive.text(problem)
        path = [problem[0], *(int(trace.nodes[n, ACTION]) for n in range(1, len(trace.nodes)))]
        assert set(naive.search(problem)[1]) <= set(path)
        tried += 1
    assert tried == plain(40, 4)


@pytest.mark.parametrize("env", SIZES)
def test_problems_are_stars_of_all_arms_and_orders(env: PathStar) -> None:
    seen = set()
    for row in problems_of(env, 60, "val"):  # of the full size
        start, target, edges = naive.problem_of(row.tolist())
        graph = networkx.DiGraph(edges)
        assert len(edges) == env.num_edges == graph.number_of_edges()
        ends = [node for node in graph if graph.out_degree(node) == 0]
        assert target in ends
        assert len(ends) == graph.out_degree(start) == env.num_arms
        (path,) = networkx.all_simple_paths(graph, start, target)
        assert len(path) == env.arm_nodes
        assert path == naive.search((start, target, edges))[1]
        assert protocol.can_pose(env, row)
        seen.add([b for a, b in edges if a == start].index(path[1]))
    assert seen == set(range(env.num_arms))


def is_star(env: PathStar, problem: naive.Problem) -> bool:
    """By networkx: a tree from the start, whose every branching is at the start, with all ends as deep as they should be."""
    start, target, edges = problem
    if not all(0 <= label < env.num_labels for label in (start, target, *(label for edge in edges for label in edge))):
        return False
    graph = networkx.DiGraph(edges)
    if graph.number_of_edges() != len(edges) or start not in graph or not networkx.is_arborescence(graph):
        return False
    depths = networkx.single_source_shortest_path_length(graph, start)
    ends = {node for node in graph if graph.out_degree(node) == 0}
    inner = [node for node in graph if node not in ends and node != start]
    lengths = {depths.get(end, -1) + 1 for end in ends}
    return (
        graph.in_degree(start) == 0
        and (env.min_arms or env.num_arms) <= graph.out_degree(start) <= env.num_arms
        and all(graph.out_degree(node) == 1 for node in inner)
        and len(lengths) == 1
        and lengths <= set(range(env.min_arm_nodes or env.arm_nodes, env.arm_nodes + 1))
        and target in ends
    )


SMALL = [PathStar(2, 2, 5), PathStar(2, 3, 8), PathStar(3, 3, 9), PathStar(3, 3, 9, 2, 2), PathStar(3, 4, 12, 0, 3)]


@pytest.mark.parametrize("env", SMALL)
def test_what_can_be_posed_is_what_networkx_calls_a_star(env: PathStar) -> None:
    rng, counts = random.Random(5), [0, 0]
    for _ in range(plain(2000, 200)):
        problem = drawn(rng, env)
        row = row_of(problem, env)
        for _ in range(rng.choice([0, 1, 1, 2, 3])):
            row[rng.randrange(2 + 2 * len(problem[2]))] = rng.randrange(-1, env.num_labels + 1)
        found = bool(protocol.can_pose(env, row))
        assert found == is_star(env, naive.problem_of(row.tolist())), row
        counts[found] += 1
    assert sum(counts) == plain(2000, 200)
    assert min(counts) > 20


@pytest.mark.parametrize("env", [PathStar(3, 3, 20, 2, 2), PathStar(4, 5, 50, 2, 0), PathStar(4, 5, 50, 0, 3)])
def test_smaller_stars_are_there_to_learn_from(env: PathStar) -> None:
    """Every size of the ranges is drawn about as often; no split but `train` has one that is not full."""
    sizes: dict[tuple[int, int], int] = {}
    num = plain(3000, 300)
    for row in problems_of(env, num):
        start, _, edges = naive.problem_of(row.tolist())
        arms = sum(a == start for a, _ in edges)
        sizes[arms, len(edges) // arms + 1] = sizes.get((arms, len(edges) // arms + 1), 0) + 1
        assert protocol.can_pose(env, row)
        assert is_star(env, naive.problem_of(row.tolist()))
        assert row.tolist() == row_of(naive.problem_of(row.tolist()), env).tolist()
    arms, nodes = range(env.min_arms or env.num_arms, env.num_arms + 1), range(env.min_arm_nodes or env.arm_nodes, 6)
    expected = {(a, n) for a in arms for n in nodes if n <= env.arm_nodes}
    assert set(sizes) == expected
    assert max(abs(count - num / len(expected)) for count in sizes.values()) < 5 * (num / len(expected)) ** 0.5
    for row in problems_of(env, 30, "val"):
        assert len(naive.problem_of(row.tolist())[2]) == env.num_edges


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"min_arms": 1}, "env.min_arms must be 0 or from 2 to env.num_arms=4, got 1"),
        ({"min_arms": 5}, "env.min_arms must be 0 or from 2 to env.num_arms=4, got 5"),
        ({"min_arm_nodes": 7, "arm_nodes": 6}, "env.min_arm_nodes must be 0 or from 2 to env.arm_nodes=6, got 7"),
        ({"num_labels": 12}, "env.num_labels=12 is too few: env.num_arms=4 and env.arm_nodes=4 make 13 nodes"),
    ],
)
def test_sizes_that_no_star_has_are_refused(keys: dict[str, int], message: str) -> None:
    with pytest.raises(UserError) as caught:
        PathStarConfig(**keys)  # type: ignore[arg-type]
    assert str(caught.value) == message


@pytest.mark.parametrize("column", [0, 1, 9, 10, 25])
def test_counts_that_no_star_has_are_no_problem(column: int) -> None:
    env = PathStar(4, 4, 30, 2, 2)
    row = row_of(naive.draw(random.Random(3), 2, 3, 30), env)
    assert protocol.can_pose(env, row)
    for count in (-1, 0, 3, 5, 12, 13, 2**31 - 1):
        wrong = row.copy()
        wrong[-1] = count
        assert not protocol.can_pose(env, wrong)
    row[column] = -1
    assert not protocol.can_pose(env, row)


WITHOUT_PLAN = [kind for kind, name in enumerate(VIEWS) if name not in ("plan_only", "swapped")]


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("env", SIZES)
def test_every_view_reads_back_and_verifies(env: PathStar, name: str) -> None:
    dialect, tried = load_dialect(name, env, 99), 0
    for row in problems_of(env, plain(20, 2)):
        trace = run_search(SEARCH, env, row, 500)
        for kind in WITHOUT_PLAN:
            shown = view_trace(View(kind, 0.5), env, trace, 7)
            tokens, _, _ = encode(dialect, shown)
            read = decode(dialect, env, tokens)
            assert (read.status, read.position) == (DecodeStatus.OK, len(tokens))
            assert read.trace.equals(shown)
            verdict = verify(env, read.trace)
            assert verdict.solved
            assert set(verdict.errors.tolist()) <= ({0, Error.UNANNOUNCED} if VIEWS[kind] == "no_backtrack" else {0})
            tried += 1
    assert tried == plain(20, 2) * len(WITHOUT_PLAN)


def claims_of(trace: Trace) -> list[tuple[str, int, int, int]]:
    nodes = trace.nodes
    return [
        (Event(int(e[KIND])).name.lower(), int(e[NODE]), int(nodes[e[NODE], PARENT]), int(nodes[e[NODE], ACTION]))
        for e in trace.events
    ]


def damaged(rng: np.random.Generator, dialect: Dialect, tokens: np.ndarray, num_prompt: int) -> np.ndarray:
    """Change, drop, repeat or swap tokens behind the prompt, now and then in it."""
    result = tokens.astype(np.int64).tolist()
    for _ in range(rng.integers(1, 5)):
        k = int(rng.integers(num_prompt if rng.random() < 0.9 else 0, len(result)))
        match rng.integers(4):
            case 0:
                result[k] = int(rng.integers(len(dialect.vocab)))
            case 1:
                del result[k]
            case 2:
                result.insert(k, result[int(rng.integers(len(result)))])
            case _:
                m = int(rng.integers(num_prompt, len(result)))
                result[k], result[m] = result[m], result[k]
        if len(result) <= num_prompt:
            break
    return np.array(result)


def hostile(num: int, seed: int) -> dict[str, int]:
    """Read and verify damaged streams; what is called solved is so for the oracle, and the other way round."""
    rng, counts = np.random.default_rng(seed), {"solved": 0, "unsolved": 0, "unread": 0}
    cases = []
    for env in (PathStar(2, 3, 10), PathStar(4, 4, 30), PathStar(3, 3, 20, 2, 2)):
        for name in DIALECTS:
            dialect = load_dialect(name, env, 99)
            for row in problems_of(env, 10):
                tokens, _, num_prompt = encode(dialect, run_search(SEARCH, env, row, 500))
                cases.append((env, dialect, tokens, num_prompt))
    for k in range(num):
        env, dialect, tokens, num_prompt = cases[k % len(cases)]
        read = decode(dialect, env, damaged(rng, dialect, tokens, num_prompt))
        if read.status == DecodeStatus.NO_PROMPT:
            counts["unread"] += 1
            continue
        verdict = verify(env, read.trace)
        assert verdict.solved == naive.solves(naive.problem_of(read.trace.problem.tolist()), claims_of(read.trace))
        counts["solved" if verdict.solved else "unsolved"] += 1
    return counts


def test_damaged_streams_are_solved_where_the_oracle_says_so() -> None:
    counts = hostile(plain(3000, 300), seed=0)
    assert sum(counts.values()) == plain(3000, 300)
    assert min(counts.values()) > plain(100, 5)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("3 5 !", Error.OPERAND),  # there is no such edge
        ("3 4 x < 0 0 3 4 !", Error.FALSE_GOAL),
        ("1 2 x", Error.FALSE_DEAD_END),
        ("1 ! ", Error.FALSE_GOAL),
        ("3 x", Error.ORDER),  # no end of an arm
        ("3 4 x < 0 4 1 2 !", Error.STATE),
        ("3 4 x 1 2 !", Error.UNANNOUNCED),
        ("3 4 x < 1 0 1 2 !", Error.STATE),
        ("3 4 x none", Error.NONE),
        ("3 4 x ! ", Error.FALSE_GOAL),
    ],
)
def test_each_error_is_found(text: str, error: Error) -> None:
    """Arms 0 1 2 and 0 3 4, target 2."""
    env = PathStar(2, 3, 6)
    dialect = load_dialect("compact", env, 9)
    tokens = (
        dialect.vocab.tokenizer()
        .encode(f"<bos> 0 1 | 3 4 | 0 3 | 1 2 / 0 2 = {text} <eos>", add_special_tokens=False)
        .ids
    )
    read = decode(dialect, env, tokens)
    assert read.status in (DecodeStatus.OK, DecodeStatus.MALFORMED)
    errors = verify(env, read.trace).errors
    assert error in errors.tolist() if error else not errors.any()


def test_published_lines_are_equal(reference: Path) -> None:
    num = 0
    for line in (reference / "graphs" / "pathstar.jsonl").read_text().splitlines():
        record: dict[str, Any] = json.loads(line)
        env = PathStar(record["arms"], record["arm_nodes"], record["labels"])
        row = row_of((record["start"], record["goal"], record["edges"]))
        assert protocol.can_pose(env, row)
        dialect = load_dialect("published", env, max(9, env.num_labels))
        shown = view_trace(View(VIEWS.index("solution_path")), env, run_search(SEARCH, env, row, 5000), 0)
        assert dialect.text(encode(dialect, shown)[0]) == record["line"] + "\n"
        num += 1
    assert num >= 60


def test_a_star_is_in_one_split_with_all_its_questions() -> None:
    env, key = PathStar(3, 3, 20), np.uint64(7)
    rng, hashes = random.Random(2), set()
    for row in problems_of(env, 50):
        start, _, edges = naive.problem_of(row.tolist())
        ends = [b for _, b in edges if b not in {a for a, _ in edges}]
        twins = [row_of((start, end, rng.sample(edges, len(edges)))) for end in ends]
        found = {int(hash_kernel(env, key, twin)) for twin in [row, *twins]}
        assert len(twins) == 3
        assert len(found) == 1
        hashes |= found
    assert len(hashes) == 50


def test_no_place_and_no_label_tells_the_arm() -> None:
    """A linear probe of everything that has a place finds the target's arm no more often than by chance."""
    env, num = PathStar(4, 3, 30), 8000
    rows = problems_of(env, num).astype(float)
    features, answers = [], []
    for row in rows.astype(int):
        start, target, edges = naive.problem_of(row.tolist())
        places = [k for k, (a, _) in enumerate(edges) if a == start]
        path = naive.search((start, target, edges))[1]
        answers.append([edges[k][1] for k in places].index(path[1]))
        features.append([*places, *np.eye(len(edges))[next(k for k, (_, b) in enumerate(edges) if b == target)]])
    x = np.hstack([rows / env.num_labels, np.array(features), np.ones((num, 1))])
    y = np.eye(env.num_arms)[answers]
    half = num // 2
    weights, *_ = np.linalg.lstsq(x[:half], y[:half], rcond=None)
    right = np.mean((x[half:] @ weights).argmax(1) == y[half:].argmax(1))
    chance = 1 / env.num_arms
    assert abs(right - chance) < 4 * np.sqrt(chance * (1 - chance) / half)
