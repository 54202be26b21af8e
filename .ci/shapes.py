"""Says what is too large in the package: `python .ci/shapes.py`. It fails where something is not excepted below.

A module has at most 400 lines, a function 60, a kernel 8 arguments, any function 8 that can be given by position, a line 120
columns; the hall of the package (what lies flat in sos/) has at most 8 modules.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST_LINES = 400
MOST_FUNCTION_LINES = 60
MOST_ARGUMENTS = 8
MOST_COLUMNS = 120
MOST_IN_HALL = 8
# What compiles the function below it; `implements` registers an implementation that kernels call.
KERNEL_MAKERS = {
    "kernel",
    "_kernel",
    "allocating",
    "compiled",
    "inner",
    "_plain",
    "inner_with",
    "inlined",
    "implements",
}
KERNEL_MAKERS |= {"njit", "jit", "overload", "register_jitable"}

Function = ast.FunctionDef | ast.AsyncFunctionDef

# "rule place" -> why it may stay as it is.
EXCEPTIONS: dict[str, str] = {}


def functions(tree: ast.AST, prefix: str = "", method: bool = False) -> Iterator[tuple[str, Function, bool]]:
    """Yield (qualified name, function, whether it is a method) for every function of a module, nested ones too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield f"{prefix}{node.name}", node, method
            yield from functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.", True)
        else:
            yield from functions(node, prefix, method)


def _maker(decorator: ast.expr) -> str:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    if isinstance(called, ast.Call):
        return _maker(called)
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def is_kernel(function: Function) -> bool:
    return any(_maker(decorator) in KERNEL_MAKERS for decorator in function.decorator_list)


def num_arguments(function: Function, method: bool) -> tuple[int, int]:
    """Return (how many arguments can be given by position, how many there are), `self` and `cls` left out."""
    arguments = function.args
    static = any(_maker(decorator) == "staticmethod" for decorator in function.decorator_list)
    by_position = len(arguments.posonlyargs) + len(arguments.args) - (method and not static)
    return by_position, by_position + len(arguments.kwonlyargs)


def of_module(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ("rule place", figure) for what is too large in one module."""
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT).as_posix()
    lines = text.splitlines()
    if len(lines) > MOST_LINES:
        yield f"module {name}", f"{len(lines)} lines"
    for number, line in enumerate(lines, 1):
        if len(line) > MOST_COLUMNS:
            yield f"line {name}:{number}", f"{len(line)} columns"
    for function_name, function, method in functions(ast.parse(text)):
        place = f"{name}::{function_name}"
        assert function.end_lineno is not None
        length = function.end_lineno - function.lineno + 1
        if length > MOST_FUNCTION_LINES:
            yield f"function {place}", f"{length} lines"
        by_position, in_all = num_arguments(function, method)
        if is_kernel(function) and in_all > MOST_ARGUMENTS:
            yield f"kernel {place}", f"{in_all} arguments"
        elif by_position > MOST_ARGUMENTS:
            yield f"arguments {place}", f"{by_position} by position"


def too_large(paths: list[Path]) -> Iterator[tuple[str, str]]:
    hall = [p for p in paths if p.parent == ROOT / "sos" and not p.stem.startswith("__")]
    if len(hall) > MOST_IN_HALL:
        yield "hall sos", f"{len(hall)} modules"
    for path in paths:
        yield from of_module(path)


def exception(what: str) -> str:
    """Return the key under which `what` can be excepted: for a line its room, since a line moves with every edit above it."""
    return "/".join(what.split(":")[0].split("/")[:2]) if what.startswith("line ") else what


def main() -> int:
    paths = [*sorted((ROOT / "sos").rglob("*.py")), ROOT / "train.py"]
    assert len(paths) > 100, "the package was not found"
    found = dict(too_large(paths))
    excepted = {what: exception(what) for what in found if exception(what) in EXCEPTIONS}
    for what in found:
        if what not in excepted:
            print(f"too large: {what}: {found[what]}")
    for what in sorted(EXCEPTIONS.keys() - set(excepted.values())):
        print(f"no longer needed in .ci/shapes.py: {what}")
    print(f"{len(paths)} modules, {len(found) - len(excepted)} too large, {len(excepted)} excepted")
    return int(len(found) > len(excepted))


if __name__ == "__main__":
    sys.exit(main())
