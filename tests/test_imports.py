"""Imports go down the floors of the house, never up, and every module lies in a room."""

from __future__ import annotations

import ast

from places import ROOT

PACKAGE = ROOT / "sos"
# From the ground up. A room may import the rooms below it and, within itself, whatever makes no circle. Rooms of one floor do not
# know each other. What lies in the hall (flat in sos/) has a floor of its own each.
FLOORS = (
    ("errors",),
    ("files", "kernels"),
    ("rng", "schema"),
    ("trace",),
    ("envs", "model"),
    ("search",),
    ("config",),
    ("compose",),
    ("stream",),
    ("context",),
    ("data",),
    ("system",),
    ("datasets", "judge"),
    ("runs",),
    ("published",),
    ("improve",),
    ("analysis",),
    ("train", "memory"),
    ("view", "interop"),
    ("library",),
    ("commands",),
)
HALL = {"errors", "files", "rng", "config", "trace", "compose", "system"}
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MODEL_MAY = {"model", "rng", "kernels", "errors"}
# Still to be turned; nothing is added here.
UPWARDS: set[tuple[str, str]] = set()


def imported(path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names += [node.module or "", *(f"{node.module}.{a.name}" for a in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def modules() -> dict[str, list[str]]:
    """The modules of the package but the package itself, each with what it imports. The starter is a project of its own."""
    paths = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE or not p.stem.startswith("__"))
    paths = [path for path in paths if path.relative_to(PACKAGE).parts[0] != "starter"]
    return {".".join(("sos", *p.relative_to(PACKAGE).with_suffix("").parts)): imported(p) for p in paths}


def room(name: str) -> str:
    return name.split(".")[1]


def rooms_of(names: list[str]) -> set[str]:
    """The rooms that the imported names lie in; names of the package itself, such as its version, lie in none."""
    return {room(name) for name in names if name.startswith("sos.") and room(name) in FLOOR}


def test_every_module_has_a_room() -> None:
    found = {room(module) for module in modules()}
    assert found == set(FLOOR), found ^ set(FLOOR)
    assert {p.stem for p in PACKAGE.glob("*.py") if not p.stem.startswith("__")} == HALL
    assert len(HALL) <= 8


def test_no_room_imports_from_one_above_it() -> None:
    found = modules()
    assert len(found) > 100
    upwards = set()
    for module, names in found.items():
        for other in rooms_of(names) - {room(module)}:
            if FLOOR[other] >= FLOOR[room(module)]:
                upwards.add((module, other))
    assert upwards == UPWARDS, upwards ^ UPWARDS


def test_the_model_knows_nothing_of_search_or_training() -> None:
    looked_at = 0
    for module, names in modules().items():
        if room(module) == "model":
            assert not [n for n in names if n.split(".")[0] in ("lightning", "hydra")], module
            assert rooms_of(names) <= MODEL_MAY, module
            looked_at += 1
    assert looked_at > 10


def test_no_module_imports_itself_round_about() -> None:
    """No circles, imports inside functions and for type checkers included."""
    found = modules()
    graph = {module: {name for name in names if name in found} for module, names in found.items()}
    while leaves := [module for module, names in graph.items() if not names & set(graph)]:
        for module in leaves:
            del graph[module]
    assert not graph
