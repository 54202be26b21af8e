"""Judges of text: does a stream solve its problem? They read the wording with `re`, and know no decoder."""

from __future__ import annotations

import re
from collections import Counter

from naive.search import INT32_MAX, legal
from naive.verify import after, holds


class _Node:
    def __init__(self, parent: _Node | None, stated: Counter[int], true: Counter[int] | None, index: int) -> None:
        self.parent, self.stated, self.true, self.index = parent, stated, true, index
        self.children: list[_Node] = []
        self.operation: tuple[int, str, int, int] | None = None
        self.inner = sum(stated.values()) > 1  # as it was generated


class _Replay:
    """Follows a searcher through the tree that its text describes."""

    def __init__(self, numbers: list[int], max_value: int) -> None:
        self.max_value = max_value
        self.root = _Node(None, Counter(numbers), Counter(numbers), 0)
        self.current: _Node | None = self.root
        self.generated: _Node | None = None  # the node of the line before

    def explore(self, a: int, operator: str, b: int, result: int, stated: list[int] | None) -> None:
        parent = self.current
        while parent is not None and not holds(parent.stated, a, b):
            parent = parent.parent
        if parent is None:  # nobody holds the operands
            parent = self.current
        if parent is None:
            self.generated = _Node(None, Counter(stated or [result]), None, 0)
            self.current = None
            return
        sound = parent.true is not None and holds(parent.true, a, b) and legal(a, operator, b, self.max_value) == result
        claim = after(parent.stated, a, b, result) if stated is None else Counter(stated)
        true = after(parent.true, a, b, result) if sound and parent.true is not None else None
        self.generated = _Node(parent, claim, true, len(parent.children))
        self.generated.operation = (a, operator, b, result)
        parent.children.append(self.generated)
        self.current = parent

    def go_to(self, node: _Node | None, stated: list[int] | None) -> None:
        if node is not None and stated is not None:
            node.stated = Counter(stated)
        self.current, self.generated = node, None

    def by_path(self, path: str, operation: tuple[int, str, int, int] | None = None, *, labels: bool) -> _Node | None:
        """Find the node that a path names; where nodes have labels, a leaf goes by 0 and by its `operation`."""
        first, *steps = (int(n) for n in path.split(","))
        if first != 0 or len(steps) >= 16:
            return None
        node: _Node | None = self.root
        for k, index in enumerate(steps):
            assert node is not None
            found = [c for c in node.children if c.index == index and (c.inner or not labels)]
            if labels and index == 0 and k == len(steps) - 1:
                found += [c for c in node.children if not c.inner and c.operation == operation]
            node = found[0] if found else None
            if node is None:
                return None
        return node

    def at_goal(self, target: int) -> bool:
        node = self.generated or self.current
        return node is not None and node.true == Counter([target])


_N = "(?:0|[1-9][0-9]*)"
_LIST = rf"\[({_N}(?:, {_N})*)\]"
_OPERATION = rf"({_N})([+*/-])({_N})=({_N})"
_QUOTED = rf"'{_N}[+*/-]{_N}={_N}'"
_CURRENT = rf"Current State: ({_N}):{_LIST}, Operations: \[((?:{_QUOTED}(?:, {_QUOTED})*)?)\]\n"
_LINES = {
    "state": re.compile(_CURRENT),
    "explore": re.compile(rf"Exploring Operation: {_OPERATION}, Resulting Numbers: {_LIST}\n"),
    "label": re.compile(rf"Generated Node #({_N}(?:,{_N})*): {_N}:{_LIST} Operation: {_OPERATION}\n"),
    "move": re.compile(rf"Moving to Node #({_N}(?:,{_N})*)\n{_CURRENT}"),
    "dead_end": re.compile(rf"{_N},{_N} unequal: No Solution\n"),
    "goal": re.compile(rf"{_N},{_N} equal: Goal Reached\n"),
}


def _fits(text: str, count: int) -> bool:
    return len(text.split(",")) <= count and all(int(n) <= INT32_MAX for n in re.findall("[0-9]+", text))


def solves(text: str, numbers: list[int], target: int, max_value: int = INT32_MAX) -> bool:
    """Say whether a text in the published wording solves the problem; it is read up to the first line that is none."""
    match = _LINES["state"].match(text)
    if not match or (match[1], match[2]) != (str(target), ", ".join(map(str, numbers))):
        return False
    replay = _Replay(numbers, max_value)
    position = match.end()
    label_due = False
    while True:
        kind, match = next(((k, m) for k, r in _LINES.items() if (m := r.match(text, position))), ("", None))
        if match is None or kind == "state" or (kind == "label" and not label_due):
            return False
        if any(int(n) > INT32_MAX for n in re.findall("[0-9]+", match[0])):
            return False
        position = match.end()
        if kind == "explore":
            a, operator, b, result, stated = match.groups()
            if not _fits(stated, len(numbers)):
                return False
            claim = [int(n) for n in stated.split(", ")]
            replay.explore(int(a), operator, int(b), int(result), claim)
            label_due = len(claim) > 1
            continue
        if kind == "label":
            if not _fits(match[2], len(numbers)):
                return False
            assert replay.generated is not None
            replay.generated.index = int(match[1].split(",")[-1])
        elif kind == "move":
            if not _fits(match[3], len(numbers)):
                return False
            operations = [(int(a), o, int(b), int(r)) for a, o, b, r in re.findall(_OPERATION, match[4])]
            last = operations[-1] if 0 < len(operations) <= 16 else None
            node = replay.by_path(match[1], last, labels=True)
            replay.go_to(node, [int(n) for n in match[3].split(", ")])
        elif kind == "goal":
            return replay.at_goal(target)
        else:
            replay.generated = None
        label_due = False


_COMPACT = {
    "explore": re.compile(rf"({_N}) ([+*/-]) ({_N}) = ({_N})( ,)?"),
    "expand": re.compile(rf"\[ ({_N}(?:(?: ,)? {_N})*) \]"),
    "jump": re.compile(rf"> ({_N}(?: , {_N})*) \[ ({_N}(?:(?: ,)? {_N})*) \]"),
    "back": re.compile(rf"< ({_N}) \[ ({_N}(?:(?: ,)? {_N})*) \]"),
    "dead_end": re.compile("x"),
    "goal": re.compile("!"),
}


_DENSE = _COMPACT | {
    "explore": re.compile(rf"; ({_N}) ([+*/-]) ({_N}) = ({_N})()"),
    "expand": re.compile(rf"\[ ({_N}(?:(?: ,)? {_N})*)"),
    "back": re.compile(rf"< ({_N})()"),
    "jump": re.compile(rf"> ({_N}(?: , {_N})*) \[ ({_N}(?:(?: ,)? {_N})*)"),
}


def solves_dense(text: str, numbers: list[int], target: int, max_value: int = INT32_MAX) -> bool:
    """Say whether a text of the dense dialect solves the problem."""
    return solves_compact(text, numbers, target, max_value, _DENSE)


def solves_compact(
    text: str,
    numbers: list[int],
    target: int,
    max_value: int = INT32_MAX,
    forms: dict[str, re.Pattern[str]] = _COMPACT,
) -> bool:
    """Say whether a text of the compact dialect solves the problem."""
    prompt, colon, body = text.partition(" :")
    if not colon or prompt.replace(" ,", "") != f"{' '.join(map(str, numbers))} > {target}":
        return False
    replay = _Replay(numbers, max_value)
    while match := next(((k, m) for k, r in forms.items() if (m := r.match(body.lstrip()))), None):
        kind, found = match
        body = body.lstrip()[found.end() :]
        if kind == "explore":
            a, operator, b, result, _ = found.groups()
            replay.explore(int(a), operator, int(b), int(result), None)
        elif kind == "expand":
            replay.go_to(replay.generated, [int(n) for n in found[1].replace(",", " ").split()])
        elif kind == "jump":
            stated = [int(n) for n in found[2].replace(",", " ").split()]
            replay.go_to(replay.by_path(found[1].replace(" ", ""), labels=False), stated)
        elif kind == "back":
            ancestors: list[_Node] = []
            node = replay.current
            while node is not None:
                ancestors.insert(0, node)
                node = node.parent
            depth = int(found[1])
            known = bool(ancestors) and ancestors[0] is replay.root and depth < len(ancestors)
            stated = [int(n) for n in found[2].replace(",", " ").split()] or None
            replay.go_to(ancestors[depth] if known else None, stated)
        elif kind == "goal":
            return replay.at_goal(target)
        else:
            replay.generated = None
    return False


_TESTS = {"dead_end": re.compile(rf"\? {_N} x"), "goal": re.compile(rf"\? {_N} !")}
_CHECKED, _CHECKED_DENSE = _COMPACT | _TESTS, _DENSE | _TESTS


def solves_checked(text: str, numbers: list[int], target: int, max_value: int = INT32_MAX) -> bool:
    """Say whether a text of the checked dialect solves the problem."""
    return solves_compact(text, numbers, target, max_value, _CHECKED)


def solves_checked_dense(text: str, numbers: list[int], target: int, max_value: int = INT32_MAX) -> bool:
    """Say whether a text of the checked dense dialect solves the problem."""
    return solves_compact(text, numbers, target, max_value, _CHECKED_DENSE)


JUDGES = {
    "sos": solves,
    "compact": solves_compact,
    "dense": solves_dense,
    "checked": solves_checked,
    "checked_dense": solves_checked_dense,
}
