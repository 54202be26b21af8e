"""Path-star in plain Python: the search, its text in the dialect `compact`, and what a trace of claims is worth."""

from __future__ import annotations

import random

Edge = tuple[int, int]
Problem = tuple[int, int, list[Edge]]  # start, target, edges


def problem_of(row: list[int]) -> Problem:
    """Read a row; one of odd length ends with the count of its edges, and has zeros behind these."""
    start, target, *labels = row if len(row) % 2 == 0 else row[: 2 + 2 * row[-1]]
    return start, target, list(zip(labels[::2], labels[1::2], strict=True))


def draw(rng: random.Random, num_arms: int, arm_nodes: int, num_labels: int) -> Problem:
    """Draw a star: arms of distinct labels that leave one start, the edges shuffled."""
    labels = rng.sample(range(num_labels), 1 + num_arms * (arm_nodes - 1))
    start, rest = labels[0], labels[1:]
    arms = [rest[k : k + arm_nodes - 1] for k in range(0, len(rest), arm_nodes - 1)]
    edges = [edge for arm in arms for edge in zip([start, *arm], arm, strict=False)]
    rng.shuffle(edges)
    return start, rng.choice(arms)[-1], edges


def search(problem: Problem) -> tuple[str, list[int]]:
    """Walk the arms in the order of their edges; return (the text of the search, the path to the target)."""
    start, target, edges = problem
    words: list[str] = []
    current = start  # the node that was expanded last: from there the search goes on without a word
    for first in [b for a, b in edges if a == start]:
        if current != start:
            words += ["<", "0", str(start)]
        path = [start, first]
        words.append(str(first))
        while following := [b for a, b in edges if a == path[-1]]:
            current = path[-1]
            path.append(following[0])
            words.append(str(path[-1]))
        if path[-1] == target:
            return " ".join([*words, "!"]), path
        words.append("x")
    raise ValueError("no arm ends in the target")


def text(problem: Problem) -> str:
    """Return the whole stream in the dialect `compact`."""
    start, target, edges = problem
    listed = " | ".join(f"{a} {b}" for a, b in edges)
    return f"{listed} / {start} {target} = {search(problem)[0]}"


def solves(problem: Problem, claims: list[tuple[str, int, int, int]]) -> bool:
    """Say whether the first goal among `claims` is reached by true edges from the start and is the target.

    A claim is (kind of event, its node, the node's parent, the label that it goes to), nodes by their number.
    """
    start, target, edges = problem
    reached: dict[int, int] = {0: start}  # node -> label, for nodes that true edges lead to
    for kind, node, parent, label in claims:
        if kind == "generate" and parent in reached and (reached[parent], label) in edges:
            reached[node] = label
        if kind == "goal":
            return node in reached and reached[node] == target
    return False
