"""Imports go one way, from the core outwards."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "sos"
LAYERS = ["rng", "trace", "envs", "search", "stream", "data", "model", "train", "improve", "analysis", "top"]
# Leaves that import nothing of the package, and that any layer may therefore use.
LEAVES = {"sos.config", "sos.kernels", "sos.files", "sos.folders", "sos.analysis.intervals"}
MODEL_MAY = {"rng", "model"}  # and how kernels are compiled


def imported(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names += [node.module or "", *(f"{node.module}.{a.name}" for a in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def layer(module: str) -> str:
    name = module.split(".")[1]
    return name if name in LAYERS else "top"


def modules() -> dict[str, list[str]]:
    paths = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")
    return {".".join(("sos", *p.relative_to(PACKAGE).with_suffix("").parts)): imported(p) for p in paths}


def test_imports_go_one_way() -> None:
    for module, names in modules().items():
        for name in names:
            if name.startswith("sos.") and not any(name.startswith(leaf) for leaf in LEAVES):
                if name == "sos.analysis" and any(n in LEAVES for n in names):
                    continue  # `from sos.analysis import intervals`
                assert LAYERS.index(layer(name)) <= LAYERS.index(layer(module)), f"{module} imports {name}"


def test_the_model_knows_nothing_of_search_or_training() -> None:
    for module, names in modules().items():
        if layer(module) == "model":
            assert not [n for n in names if n.split(".")[0] in ("lightning", "hydra")], module
            others = [n for n in names if n.startswith("sos.") and not n.startswith("sos.kernels")]
            assert not [n for n in others if layer(n) not in MODEL_MAY], module


def test_leaves_import_nothing_of_the_package() -> None:
    for leaf in LEAVES:
        assert not [n for n in modules()[leaf] if n.split(".")[0] == "sos"], leaf


def test_no_module_imports_itself_round_about() -> None:
    """No circles, imports inside functions and for type checkers included."""
    found = modules()
    graph = {module: {name for name in names if name in found} for module, names in found.items()}
    while leaves := [module for module, names in graph.items() if not names & set(graph)]:
        for module in leaves:
            del graph[module]
    assert not graph
