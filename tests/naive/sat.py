"""The slow, obvious oracle of 3-SAT, in plain Python, written from the specification.

Clauses are lists of literals, a literal a variable below 0 where it is negated; an assignment is a set of true literals.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import product
from typing import Any

Clauses = list[list[int]]
Literals = frozenset[int]
# Kinds of events, outcomes and flags, as in `sos.trace`.
EXPAND, GENERATE, DEAD_END, GOAL, BACKTRACK, END, PLAN = range(7)
SOLVED, EXHAUSTED = range(2)
FORCED = 8


def variables(clauses: Clauses) -> list[int]:
    return sorted({abs(literal) for clause in clauses for literal in clause})


def has_model(clauses: Clauses) -> bool:
    """Try every assignment."""
    names = variables(clauses)
    return any(
        all(any(literal in made for literal in clause) for clause in clauses)
        for signs in product((1, -1), repeat=len(names))
        for made in [{sign * name for sign, name in zip(signs, names, strict=True)}]
    )


def left(clause: Iterable[int], true: Literals) -> list[int] | None:
    """Return the literals of a clause that have no value, None where one is true."""
    if any(literal in true for literal in clause):
        return None
    return [literal for literal in clause if -literal not in true]


def residual(clauses: Clauses, true: Literals) -> Clauses:
    return [rest for clause in clauses if (rest := left(clause, true)) is not None]


def status(clauses: Clauses, true: Literals) -> str:
    rest = residual(clauses, true)
    return "goal" if not rest else "dead" if [] in rest else "open"


def falsified(clauses: Clauses, true: Literals) -> list[int]:
    """Return the numbers of the falsified clauses, from 1."""
    return [number for number, clause in enumerate(clauses, 1) if left(clause, true) == []]


def units(clauses: Clauses, true: Literals, literal: int) -> list[int]:
    """Return the numbers of the clauses that leave nothing but a literal."""
    return [number for number, clause in enumerate(clauses, 1) if left(clause, true) == [literal]]


def is_pure(clauses: Clauses, true: Literals, literal: int) -> bool:
    found = {other for clause in residual(clauses, true) for other in clause}
    return literal in found and -literal not in found


def proofs(clauses: Clauses, true: Literals, literal: int) -> list[int]:
    """Return the numbers that prove a literal forced: unit clauses, and 0 where it is pure."""
    return [0] * is_pure(clauses, true, literal) + units(clauses, true, literal)


def moves(clauses: Clauses, true: Literals, kind: str) -> list[tuple[int, bool]]:
    """Return the literals that a search makes true next, and whether it calls them forced."""
    rest = residual(clauses, true)
    names = variables(rest)
    if kind != "none":
        for clause in rest:
            if len(clause) == 1:
                return [(clause[0], True)]
    if kind == "pure":
        for name in names:
            for literal in (name, -name):
                if is_pure(clauses, true, literal):
                    return [(literal, True)]
    if kind != "frequent":
        return [(names[0], False), (-names[0], False)]
    shortest = min(map(len, rest))
    told = [literal for clause in rest if len(clause) == shortest for literal in clause]
    name = max(sorted({abs(one) for one in told}), key=lambda v: told.count(v) + told.count(-v))
    sign = 1 if told.count(name) >= told.count(-name) else -1
    return [(sign * name, False), (-sign * name, False)]


def said(literal: int) -> str:
    return f"{literal:+}"


def text(clauses: Clauses, kind: str, dialect: str) -> str:
    """Return the stream of a search, without its first and last token."""
    words = [" | ".join(" ".join(map(said, clause)) for clause in clauses), "="]
    checked = dialect == "checked"

    def visit(true: Literals, level: int) -> bool:
        gone = False  # below an inner child, from where it has to return
        for literal, forced in moves(clauses, true, kind):
            words.extend(["<", str(level)] if gone else [])
            gone = False
            if forced:
                number = min(units(clauses, true, literal), default=0)
                names = [said(one) for one in clauses[number - 1]] if number else []
                words.extend([":", *names, ">"] if checked else [])
            else:
                words.extend(["?", str(level)] if checked else ["?"])
            words.append(said(literal))
            after = true | {literal}
            kind_of_end = status(clauses, after)
            if kind_of_end == "goal":
                words.append("!")
                return True
            if kind_of_end == "dead":
                words.extend(["x", *map(said, clauses[falsified(clauses, after)[0] - 1])] if checked else ["x"])
            elif visit(after, level + (not forced)):
                return True
            else:
                gone = True
        return False

    if not visit(frozenset(), 1):
        words.append("none")
    return " ".join(words)


def claims(trace: Any) -> list[tuple[int, int, int, int, int]]:
    """Return (kind, node, value, flags, literal) of each event; the literal is that of its node, 0 where it has none."""
    found = []
    for kind, node, _, value, flags in trace.events.tolist():
        number = int(trace.nodes[node][2]) if node > 0 else -2
        variable = number // 2 + 1
        found.append((kind, node, value, flags, -variable if number % 2 else variable))
    return found


def solves(clauses: Clauses, trace: Any) -> str:
    """Return "satisfied", "refuted" or the empty string: what a trace proves of the formula."""
    parents = [int(row[0]) for row in trace.nodes]
    names, events = variables(clauses), claims(trace)
    paths: dict[int, list[int]] = {0: []}  # sound node -> the literals on the way to it
    generated: dict[int, tuple[int, int, int]] = {}  # node -> value, flags, literal
    visited, dead, goal = {0}, dict[int, list[int]](), None
    for kind, node, value, flags, literal in events:
        if kind in (GENERATE, PLAN):
            path = paths.get(parents[node])
            if path is not None and abs(literal) in names and abs(literal) not in map(abs, path):
                paths[node] = [*path, literal]
            if kind == GENERATE:
                generated[node] = value, flags, literal
        elif kind in (EXPAND, BACKTRACK):
            visited.add(node)
        elif kind == DEAD_END:
            dead.setdefault(node, []).append(value)
        elif kind == GOAL and goal is None:
            goal = node
    kinds = [event[0] for event in events]
    if goal is not None:
        first = kinds.index(GOAL)
        right = PLAN not in kinds[:first] and goal in paths and status(clauses, frozenset(paths[goal])) == "goal"
        return "satisfied" if right else ""

    def closed(node: int) -> bool:
        if node not in paths:
            return False
        true = frozenset(paths[node])
        if set(dead.get(node, [])) & set(falsified(clauses, true)):
            return True
        if node not in visited:
            return False
        children = [generated[child] for child in generated if parents[child] == node and closed(child)]
        literals = {literal for _, _, literal in children}
        for value, flags, literal in children:
            proven = proofs(clauses, true, literal)
            if value in proven if flags & FORCED else proven:
                return True
        return any(-literal in literals for literal in literals)

    ended = len(events) > 1 and kinds[-1] == END and events[-1][2] == EXHAUSTED
    return "refuted" if ended and PLAN not in kinds and closed(0) else ""


def twin(rng: random.Random, clauses: Clauses, num_labels: int) -> Clauses:
    """Rename variables, flip signs of variables, and put clauses and literals in another order."""
    names = variables(clauses)
    new = dict(zip(names, rng.sample(range(1, num_labels + 1), len(names)), strict=True))
    flips = {name: rng.choice([1, -1]) for name in names}
    made = [[flips[abs(one)] * (1 if one > 0 else -1) * new[abs(one)] for one in clause] for clause in clauses]
    return rng.sample([rng.sample(clause, len(clause)) for clause in made], len(made))


# The published text (PENCIL): a call restates the residual formula.


def published_formula(clauses: Clauses) -> str:
    literals = [[f"¬ {-one}" if one < 0 else str(one) for one in clause] for clause in clauses]
    return " ∧ ".join(f"( {' ∨ '.join(clause)} )" for clause in literals)


def published(clauses: Clauses) -> tuple[str, bool]:
    """Return the text of a call, and its answer."""
    unit = next((clause[0] for clause in clauses if len(clause) == 1), None)
    words, answer = ["[CALL] Question:", published_formula(clauses)], False
    tries = [unit] if unit else [variables(clauses)[0], -variables(clauses)[0]]
    for literal in tries:
        say = f"Found {'¬ ' if literal < 0 else ''}{abs(literal)} Let" if unit else "Try"
        words.append(f"{say} {abs(literal)} = {literal > 0}")
        rest = residual(clauses, frozenset({literal}))
        answer = not rest
        if rest and [] not in rest:
            inner, answer = published(rest)
            words.append(inner)
        if answer:
            break
    return " ".join([*words, f"[SEP] Answer: {answer} [RETURN]"]), answer
