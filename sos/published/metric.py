"""The published metric and tree parser (Gandhi et al. 2024), on text in the published wording, defects included.

For comparison with published figures, never as the truth (`sos.stream.verify` decides that). The same ratings, reasons
and trees as the published code, which among other things

- never consumes a number: `20+20=40` from a single 20 is "valid", and "correct" for its parser too;
- reads the operations of the last state *before* the first goal, wherever that state lies in the tree;
- follows the search only through states that come right after a move, and parents by position, not by content.

Where the published code raises, a rating is None and a tree is a ValueError. Two bounds of this module: in the left
side of an operation only numbers, arithmetic, lists and names are understood, and a power must stay below 2**4096.
"""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sos.errors import UserError
from sos.published.ratings import MAX_EXPLORED, explored_rating

VALID = "Valid path."
NO_START = "Invalid input: Cannot find the initial state in the first line."
ERROR_KINDS = ("arithmetic", "exploration", "formatting", "other")
END_OF_TEXT = "<|endoftext|>"
GOAL_TEXT = "Goal Reached"

_START = re.compile(r"Current State: (\d+):\[(.*?)\]")
_STATE = re.compile(r"Current State: \d+:\[.*?\], Operations: \[(.*?)\]")
_EXPLORE = re.compile(r"Exploring Operation: (.*?=\d+), Resulting Numbers: \[.*?\]")
_GOAL = re.compile(rf"\d+,\d+ equal: {GOAL_TEXT}")
_OPERATION = re.compile(r"(\d+[-+*/]\d+)=(\d+)")
_OPERANDS = re.compile(r"(\d+)([-+*/])(\d+)")
_WHERE = r"Node #\d+((?:,\d+)*)\n* *(?:Current State)*: \d*:\["
_GENERATED = re.compile(rf"Generated {_WHERE}(.*)\],* Operations*: \[*(.*)")
_EXPLORED = re.compile(rf"Moving to {_WHERE}.*\]\n.*Operations*: \d+[-+*/]\d+=\d+")
_DEAD_END = re.compile(
    r"Moving to Node #\d+((?:,\d+)*)\n.*\nExploring Operation: (\d+)([-+*/])(\d+)=(\d+).*\n.*unequal: No Solution"
)


class Rating(NamedTuple):
    """The published metric's verdict; `rating` > 0 counts as solved, None where the published code raises."""

    rating: float | None
    reason: str


def rate(text: str) -> Rating:
    """Return the published rating and reason (its mode `sft`) of a whole text, its problem statement included."""
    try:
        reason = _reason(text)
        if reason != VALID:
            return Rating(0.0, reason)
        first_line = _first_line(text)
        numbers = _start(first_line.split("->")[1] if "->" in first_line else first_line)[1]
    except ValueError as error:
        return Rating(None, str(error))
    if len(numbers) not in MAX_EXPLORED:
        return Rating(None, f"no number of nodes is known for {len(numbers)} numbers")
    return Rating(explored_rating(text, len(numbers)), VALID)


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0]


def _start(first_line: str) -> tuple[int, list[int]]:
    """Return (target, numbers) that a line starts with. Raises ValueError where it does not or they are no integers."""
    match = _START.match(first_line)
    if match is None:
        raise ValueError(NO_START)
    return int(match[1]), [int(number) for number in match[2].split(", ")]


def _reason(text: str) -> str:
    """Return the published verdict in words."""
    first_line = _first_line(text)
    text = text.replace(END_OF_TEXT, "")
    if not _START.match(first_line):
        return NO_START
    target, numbers = _start(first_line)
    goal = _GOAL.search(text)
    if goal is None:
        return "No goal reached statement found."
    before = text[: goal.start()]
    explored = _EXPLORE.findall(before)
    if not explored:
        return "No operations found leading to the goal."
    last = explored[-1]
    try:
        result = int(last.split("=")[1])
    except ValueError:
        return "Couldnt parse last op"
    if result != target:
        return "Invalid path: Final operation does not result in target."
    states = _STATE.findall(before)
    if not states:
        raise ValueError("no state with its operations comes before the goal")
    history = [operation.replace("'", "") for operation in states[-1].split(", ")]
    return _check_path([*history, last], numbers)


def _check_path(operations: Sequence[str], numbers: Sequence[int]) -> str:
    """Return the verdict on the operations of a path; every number stays available, and so does every result."""
    available = list(numbers)
    for operation in operations:
        left, equals, right = operation.partition("=")
        if not equals or "=" in right:
            return "Could not split operation into lhs, rhs"
        try:
            if evaluate(left) != int(right):
                return f"Invalid operation: {operation}"
        except _EVALUATION_ERRORS as error:
            return f"Error in evaluating operation {operation}: {error}"
        for number in re.findall(r"\d+", left):
            if int(number) not in available:
                return f"Invalid operation: {operation}, number {number} not available in {available}"
        available.append(int(right))
    return VALID


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_EVALUATION_ERRORS = (ArithmeticError, SyntaxError, NameError, TypeError, ValueError, RecursionError, MemoryError)


def evaluate(expression: str) -> Any:
    """Return the value of Python arithmetic in `expression`, which is parsed and walked, never executed.

    Raises what Python would: SyntaxError (`05+1`), ZeroDivisionError, OverflowError, NameError, TypeError; and
    ValueError for anything that is no arithmetic.
    """
    return _value(ast.parse(expression.lstrip(" \t"), "<string>", "eval").body)


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=int() | float()):
            return node.value
        case ast.BinOp() if type(node.op) in _BINARY:
            left, right = _value(node.left), _value(node.right)
            if isinstance(left, list) or isinstance(right, list):
                raise ValueError(f"not arithmetic: {ast.unparse(node)}")
            whole = isinstance(left, int) and isinstance(right, int)
            if isinstance(node.op, ast.Pow) and whole and left.bit_length() * abs(right) > 4096:
                raise OverflowError(f"{left}**{right} is too large")
            return _BINARY[type(node.op)](left, right)
        case ast.UnaryOp() if type(node.op) in _UNARY:
            return _UNARY[type(node.op)](_value(node.operand))
        case ast.Tuple() | ast.List():
            return [_value(part) for part in node.elts]
        case ast.Call() if not node.args:
            raise TypeError(f"'{type(_value(node.func)).__name__}' object is not callable")
        case ast.Name():
            raise NameError(f"name {node.id!r} is not defined")
    raise ValueError(f"not arithmetic: {ast.unparse(node)}")


@dataclass(eq=False)
class Node:
    """A node as the published parser sees it. `path` is where it files the node's errors, which for a leaf is its
    parent."""

    numbers: list[int]
    path: tuple[int, ...]
    children: dict[int, Node] = field(default_factory=dict)

    def add(self, node: Node) -> int:
        """Add a child behind the others; return its index."""
        index = max(self.children) + 1 if self.children else 0
        self.children[index] = node
        return index


@dataclass(eq=False)
class SearchTree:
    """What the published parser makes of a text."""

    root: Node | None = None  # None where the first line states no problem
    target: int = -1
    correctness: int = 0  # the goal is right and no node of its path has an error
    goal_reached: int = 0  # a goal is claimed
    num_total_nodes: int = 0
    errors: dict[str, set[tuple[int, ...]]] = field(default_factory=lambda: {kind: set() for kind in ERROR_KINDS})

    @property
    def num_errors(self) -> dict[str, int]:
        """Nodes with an error of each kind."""
        return {kind: len(paths) for kind, paths in self.errors.items()}

    def wrong(self, path: tuple[int, ...]) -> bool:
        """Say whether any error is filed under `path`."""
        return any(path in paths for paths in self.errors.values())

    def states(self) -> set[tuple[int, ...]]:
        """Return the sorted numbers of the root and of every node without an error.

        Raises ValueError where there is no root.
        """
        if self.root is None:
            raise ValueError(NO_START)
        found = {tuple(sorted(self.root.numbers))}
        waiting = [*self.root.children.values()]
        while waiting:
            node = waiting.pop()
            if not self.wrong(node.path):
                found.add(tuple(sorted(node.numbers)))
            waiting += node.children.values()
        return found

    def _walk(self, path: Sequence[int]) -> tuple[Node, bool]:
        """Return the deepest node on the way along `path` from the root, and whether the way was there to its end."""
        assert self.root is not None
        node = self.root
        for index in path:
            if index not in node.children:
                return node, False
            node = node.children[index]
        return node, True


def parse_tree(text: str) -> SearchTree:
    """Return the published parser's tree of a whole text, up to its first goal.

    Raises ValueError where the published parser raises, except for correct trees of other than 3 or 4 numbers, for
    which it only knows no rating.
    """
    tree = SearchTree()
    start = _START.search(_first_line(text).replace(END_OF_TEXT, ""))
    text = text.replace(END_OF_TEXT, "")
    if GOAL_TEXT in text:
        text = text[: text.index(GOAL_TEXT) + len(GOAL_TEXT) + 1]
    if start is None:
        return tree
    tree.target = int(start[1])
    tree.root = Node(json.loads(f"[{start[2]}]"), (0,))
    goal = _GOAL.search(text)
    tree.goal_reached = int(goal is not None)
    operations = _EXPLORE.findall(text[: goal.start()] if goal else text)
    if not operations:
        tree.errors["exploration"].add((0,))
        return tree
    if goal:
        text = text[: goal.end()]
    tree.num_total_nodes = 1
    for match in _GENERATED.finditer(text):
        path = _path(match[1])
        if len(path) > 1 and not _add_generated(tree, path, match[2], match[3]):
            break
    for match in _DEAD_END.finditer(text):
        _add_dead_end(tree, _path(match[1]), match)
    explored = _EXPLORED.findall(text)
    if goal and explored:
        _add_goal(tree, _path(explored[-1]), operations[-1])
    return tree


def _path(text: str) -> tuple[int, ...]:
    """Return (0, 2, 1) for `,2,1`: the first number of a label is not looked at."""
    return (0, *(int(index) for index in text.split(",")[1:]))


def _add_generated(tree: SearchTree, path: tuple[int, ...], numbers: str, text: str) -> bool:
    """Add an inner node; False where its operation cannot be read, at which the published parser stops."""
    tree.num_total_nodes += 1
    operation = _OPERATION.search(text)
    if operation is None:
        tree.errors["formatting"].add(path)
        return False
    left, right = operation[1], int(operation[2])
    try:
        if evaluate(left) != right:
            tree.errors["arithmetic"].add(path)
    except _EVALUATION_ERRORS:
        tree.errors["other"].add(path)
    parent, exists = tree._walk(path[1:-1])
    if not exists:
        tree.errors["exploration"].add(path)
        return True
    _take(tree, path, parent.numbers, [int(number) for number in re.findall(r"\d+", left)])
    try:
        node = Node([int(number) for number in numbers.split(",")], path)
    except ValueError:
        tree.errors["formatting"].add(path)
        return True
    if path[-1] in parent.children:
        tree.errors["exploration"].add(path)
    else:
        parent.children[path[-1]] = node
    return True


def _take(tree: SearchTree, path: tuple[int, ...], numbers: Sequence[int], operands: Sequence[int]) -> list[int]:
    """Return `numbers` without the operands; file an error for an operand that is not there before any is taken."""
    if any(operand not in numbers for operand in operands):
        tree.errors["other"].add(path)
    left = list(numbers)
    for operand in operands:
        if operand in left:
            left.remove(operand)
    return left


def _add_dead_end(tree: SearchTree, path: tuple[int, ...], match: re.Match[str]) -> None:
    """Add a leaf below the node at `path` that a move went to."""
    a, b, result = int(match[2]), int(match[4]), int(match[5])
    wrong = False
    overflow = False
    try:
        wrong = (match[3] == "/" and b == 0) or evaluate(f"{a}{match[3]}{b}") != result
    except OverflowError:
        overflow = True
        tree.errors["other"].add(path)
    if wrong:
        tree.errors["arithmetic"].add(path)
    tree.num_total_nodes += 1
    parent, exists = tree._walk(path[1:-1])
    if not exists:  # the last index is then looked up where the way ends
        tree.errors["exploration"].add(path)
    if len(path) > 1:
        if path[-1] not in parent.children:
            tree.errors["exploration"].add(path)
            return
        parent = parent.children[path[-1]]
    if overflow:
        raise ValueError(f"the quotient {a}/{b} is too large for a float")
    leaf = (*path, parent.add(Node([result], path)))
    if wrong:
        tree.errors["arithmetic"].add(leaf)
    if _take(tree, leaf, parent.numbers, [a, b]):
        tree.errors["other"].add(leaf)


def _add_goal(tree: SearchTree, path: tuple[int, ...], operation: str) -> None:
    """Add the goal below the node at `path`, the last one moved to and explored, and decide on correctness."""
    tree.num_total_nodes += 1
    parent, exists = tree._walk(path[1:-1])
    if not exists:
        tree.errors["exploration"].add(path)
    if len(path) > 1:
        if path[-1] not in parent.children:
            tree.errors["exploration"].add(path)
            return
        parent = parent.children[path[-1]]
    if not exists:
        return
    left, result = operation.split("=")[:2]
    claimed = int(result)
    operands = _OPERANDS.search(left)
    if operands is None:
        raise ValueError(f"the last operation cannot be read: {operation}")
    leaf = (*path, max(parent.children) + 1 if parent.children else 0)
    if operands[2] == "/" and operands[3] == "0":
        tree.errors["arithmetic"].add(leaf)
        return
    try:
        true = evaluate(left)
    except _EVALUATION_ERRORS as error:
        raise ValueError(f"the last operation cannot be evaluated: {operation} ({error})") from error
    if claimed != tree.target:
        return
    if claimed != true:
        tree.errors["arithmetic"].add(leaf)
        return
    parent.add(Node([tree.target], leaf))
    tree.correctness = int(not any(tree.wrong(prefix) for prefix in _prefixes(leaf)))


def _prefixes(path: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the paths of the nodes on the way to `path`, without the root."""
    return (path[: length + 1] for length in range(1, len(path)))


def node_alignment(a: set[tuple[int, ...]], b: set[tuple[int, ...]]) -> float:
    """Return the published alignment of two searches by their `SearchTree.states`: shared states / states of the
    larger."""
    return len(a & b) / max(len(a), len(b))


def check_game(env: str, asked: str) -> None:
    """Raise UserError where the published metric was `asked` for in another environment than its own."""
    if env != "countdown":
        raise UserError(f"{asked} is the published metric of countdown, not of {env}")
