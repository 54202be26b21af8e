"""A data set, or a checkpoint, of before a key came is one in which that key has its default, and no other."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from places import ROOT
from shard_sets import SMALL, VISITS, files, job

import sos.datasets.make
from sos.compose import compose
from sos.config import Config, config_from_dict, config_hash, to_dict
from sos.datasets.make import generate, merge
from sos.datasets.source import build_source, config_of, recipe
from sos.datasets.store import recipe_difference
from sos.datasets.verify import verify_set
from sos.envs.countdown.heuristics import HEURISTIC_SCALE
from sos.envs.heuristics import HEURISTICS
from sos.envs.registry import ENVIRONMENTS
from sos.errors import UserError
from sos.runs.checkpoint import LoadedCheckpoint
from sos.runs.resume import BOUND, FREE, check_same_run
from sos.schema.stream import ADDED_VIEWS
from sos.search.registry import SEARCHES
from sos.stream.dialect.source import DIALECTS
from sos.system import build_system

HOMES = ROOT / "tests" / "user_package", ROOT / "sos" / "starter"
WHOLE = ["experiment=whole_numbers"]
CONFIGS = {
    "whole numbers": WHOLE,
    "path-star, smaller ones to learn from": ["env=path_star", "search.heuristic=none", "env.min_arms=2"],
    "beam, a dose": ["search=beam", "stream.view=dose", "stream.numbers=digits"],
    "a mixture": [
        "search.name=mixture",
        "+search.strategies.a.heuristic=mult",
        "+search.strategies.b={name:beam,width:3}",
        "+search.strategies.c={name:'probes:probes',most:4}",
        "+search.weights.a=2",
    ],
    "a search of a package": ["search.name=probes:probes", "search.most=5"],
    "an environment of a package": ["env.name=climb:climb", "search.heuristic=none", "stream.whole_max=99"],
}
OTHER_NAMES = {"countdown": "path_star", "dfs": "beam"}


REGISTRIES = (ENVIRONMENTS, SEARCHES, HEURISTICS, ADDED_VIEWS, DIALECTS)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The user's packages on the path; what they register is gone afterwards."""
    before, modules = [dict(registry) for registry in REGISTRIES], set(sys.modules)
    for home in HOMES:
        monkeypatch.syspath_prepend(str(home))
    yield
    for registry, parts in zip(REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(parts)
    for name in {path.stem for home in HOMES for path in home.iterdir()} & set(sys.modules) - modules:
        del sys.modules[name]


def leaves(values: dict[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all keys that hold no keys themselves."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*prefix, key))
        else:
            yield (*prefix, key)


def without(values: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    result = copy.deepcopy(values)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return result


def with_other(values: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """The same with another value of that type."""
    result = copy.deepcopy(values)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    old = inner[path[-1]]
    if isinstance(old, bool):
        inner[path[-1]] = not old
    elif isinstance(old, str):
        inner[path[-1]] = OTHER_NAMES.get(old, f"{old}x")
    elif isinstance(old, dict):
        inner[path[-1]] = {"a": {"name": "dfs"}}
    else:
        inner[path[-1]] = old + 1
    return result


def means(read: Callable[[Any], Config], stored: dict[str, Any]) -> Config | None:
    """The config that a record is read as, where it is one."""
    try:
        return read(stored)
    except UserError:
        return None


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("words", CONFIGS.values(), ids=CONFIGS)
def test_a_key_that_is_missing_has_its_default(words: list[str]) -> None:
    """The oracle is the config that the rest of the recipe is read as."""
    config = compose(words)
    current = recipe(config, "tokens", "train", build_system(config).dialect)
    read = lambda stored: config_of({"recipe": stored})  # noqa: E731
    whole = means(read, current)
    accepted, refused = 0, 0
    for path in leaves(current):
        if path[0] in ("kind", "split", "seed") or path[-1] == "dialect_hash" or path[:2] == ("search", "weights"):
            continue
        name, stored = ".".join(path), without(current, path)
        if means(read, stored) == whole:
            assert recipe_difference(stored, current) is None, name
            accepted += 1
            found = recipe_difference(stored, with_other(current, path))
            assert found is not None, name
            assert found[0] == (f"{name}.a" if name == "search.strategies" else name)
            if path[-1] != "name" and found[0] == name:  # a name chooses whose defaults they are
                assert found[1] == _at(current, path)
        else:
            found = recipe_difference(stored, current)
            assert found is not None, name
            assert found[0] == name
            assert found[2] == _at(current, path)
            refused += 1
    assert accepted > 14
    assert (refused > 1) == (words != WHOLE)  # of these, data.context


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        values = values[key]
    return values


def test_what_is_no_key_of_the_schema_is_not_made_up() -> None:
    config = compose([])
    current = recipe(config, "tokens", "train", build_system(config).dialect)
    for path in (("kind",), ("split",), ("stream", "dialect_hash")):
        found = recipe_difference(without(current, path), current)
        assert found == (".".join(path), None, _at(current, path))
    for stored in ({}, {"env": 3}, {"search": {"strategies": 3}}, {"search": {"strategies": {"a": 3}}}):
        assert recipe_difference(stored, current)
    later = current | {"env": current["env"] | {"old": 1}}
    assert recipe_difference(later, current) == ("env.old", 1, None)


LATER = ("plan", "numbers")  # of `stream`, at their defaults


def test_a_set_of_before_a_key_came_is_read_and_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def older(*words: Any) -> dict[str, Any]:
        made = recipe(*words)
        return made | {"stream": {key: value for key, value in made["stream"].items() if key not in LATER}}

    folder = tmp_path / "set"
    with monkeypatch.context() as then:
        then.setattr(sos.datasets.make, "recipe", older)
        generate(job(folder))
    before = files(folder)
    config = compose(
        [*WHOLE, "env.max_number=12", "data.block=64", "data.match=problems", f"data.train_problems={VISITS}"]
    )
    config.data.shards = str(folder)
    read = build_source(config, build_system(config)).chunk(0, VISITS)
    assert len(read.visits) > 200
    for lost in (folder / "shard-00003").iterdir():
        lost.unlink()
    (folder / "shard-00003").rmdir()
    assert generate(job(folder)) > 30
    assert files(folder) == before
    merge(job(folder))
    assert verify_set(job(folder)) == len(read.visits)
    assert files(folder) == before
    config.stream.plan = True
    message = r"made with stream\.plan=False, this run has stream\.plan=True"
    with pytest.raises(UserError, match=message):
        build_source(config, build_system(config))
    with pytest.raises(UserError, match=message):
        generate(job(folder, values=SMALL | {"stream": {"plan": True}}))


def checkpoint(config: dict[str, Any]) -> LoadedCheckpoint:
    return LoadedCheckpoint(config, "", None, {}, {}, Path("last.ckpt"))


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("words", CONFIGS.values(), ids=CONFIGS)
def test_a_run_of_before_a_key_came_may_go_on(words: list[str]) -> None:
    config = compose(words)
    current = to_dict(config)
    accepted, refused = 0, 0
    for path in leaves(current):
        name = ".".join(path)
        if path[-1] == "name" or path[1:2] in (("strategies",), ("weights",)):
            continue
        stored = without(current, path)
        if means(config_from_dict, stored) == config or (name not in BOUND and name.startswith(FREE)):
            check_same_run(config, checkpoint(stored))
            accepted += 1
        else:
            with pytest.raises(UserError, match=rf"it was trained with {name}=.*, this run has {name}="):
                check_same_run(config, checkpoint(stored))
            refused += 1
    assert accepted > 50
    assert refused < 8


def test_the_hash_of_a_config_in_a_file_is_that_of_its_day() -> None:
    values = to_dict(Config())
    assert config_hash(values) == config_hash(Config())
    older = values | {"stream": {key: value for key, value in values["stream"].items() if key not in LATER}}
    assert config_hash(older) != config_hash(values)
    assert config_hash(older) == config_hash(older | {"resume": "run", "data": values["data"] | {"shards": "set"}})


PARTS = {
    "a view": (["stream.view=short:short"], "tokens", {"stream.view": {"most": 20}}),
    "a heuristic": (["search.heuristic=gap:gap"], "tokens", {"search.heuristic": {"scale": HEURISTIC_SCALE}}),
    "a heuristic of traces": (["search.heuristic=gap:gap"], "traces", {"search.heuristic": {"scale": HEURISTIC_SCALE}}),
    "one of a mixture": (
        ["search.name=mixture", "+search.strategies.a.name=dfs", "+search.strategies.b.heuristic=gap:gap"],
        "traces",
        {"search.strategies.b.heuristic": {"scale": HEURISTIC_SCALE}},
    ),
    "traces have no view": (["stream.view=short:short"], "traces", None),
    "none": (["search.heuristic=mult", "stream.view=no_backtrack"], "tokens", None),
}


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(("words", "kind", "parts"), PARTS.values(), ids=PARTS)
def test_the_numbers_of_parts_of_packages_are_in_the_recipe(words: list[str], kind: str, parts: Any) -> None:
    config = compose(words)
    made = recipe(config, kind, "train", build_system(config).dialect)
    assert made.get("parts") == parts
    assert json.loads(json.dumps(made)) == made
    assert config_of({"recipe": made}).search == config.search


class Lists(NamedTuple):
    weights: np.ndarray = np.array([1.5, 2])
    pair: tuple[int, int] = (1, 2)
    scale: np.int64 = np.int64(3)


def test_arrays_are_recorded_as_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADDED_VIEWS, "lists", Lists)
    config = compose(["stream.view=lists"])
    made = recipe(config, "tokens", "train", build_system(config).dialect)
    assert made["parts"] == {"stream.view": {"weights": [1.5, 2.0], "pair": [1, 2], "scale": 3}}
    assert json.loads(json.dumps(made)) == made


@pytest.mark.slow
@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("values", "registry", "name", "message"),
    [
        ({"stream": {"view": "short:short"}}, ADDED_VIEWS, "short", r"parts\.stream\.view\.most=20, .* has .*most=21"),
        ({"search": {"heuristic": "gap:gap"}}, HEURISTICS, "gap", r"parts\.search\.heuristic\.scale=\d+, .* has .*=21"),
    ],
)
def test_a_set_that_was_made_with_other_numbers_is_refused(
    tmp_path: Path, values: dict[str, Any], registry: Any, name: str, message: str
) -> None:
    config = config_from_dict(
        SMALL | values | {"data": {"context": 256, "match": "problems", "train_problems": 60, "block": 20}}
    )
    generate(job(tmp_path / "set", values=SMALL | values, visits=60))
    config.data.shards = str(tmp_path / "set")
    assert len(build_source(config, build_system(config)).chunk(0, 60).visits) > 20
    found = registry[name]
    kind = found if isinstance(found, type) else next(iter(found.values()))
    before = kind.__new__.__defaults__
    kind.__new__.__defaults__ = (21,)  # as an edited package has it
    try:
        with pytest.raises(UserError, match=f"was made with {message}"):
            build_source(config, build_system(config))
        with pytest.raises(UserError, match=f"was made with {message}"):
            generate(job(tmp_path / "set", values=SMALL | values, visits=60))
    finally:
        kind.__new__.__defaults__ = before
