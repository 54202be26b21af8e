"""Game of 24 as a preset of Countdown: what is held out, and that it is all of what can be solved by its rules."""

from __future__ import annotations

import json
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from naive import twenty_four as naive
from sizes import plain

from sos.compose import compose
from sos.config import Config, config_hash, to_dict
from sos.data.splits import evaluation_problems, make_splits, sample_problems
from sos.datasets.source import build_trace_source, config_of, recipe
from sos.datasets.store import recipe_difference
from sos.envs import protocol
from sos.envs.countdown.rules import Countdown
from sos.errors import UserError
from sos.system import System, build_system

MULTISETS = list(combinations_with_replacement(range(1, 14), 4))


def system() -> System:
    return build_system(compose(["experiment=game24"]))


def solvable(env: Countdown, numbers: tuple[int, ...]) -> bool:
    return bool(protocol.solvable(env, np.array([24, 4, *numbers], np.int32), env.proof_work()))


def test_the_puzzles_that_countdown_solves_are_those_of_the_reference(reference: Path) -> None:
    lines = (reference / "game24" / "multisets.jsonl").read_text().splitlines()
    records = {tuple(record["numbers"]): record for record in map(json.loads, lines)}
    assert set(records) == set(MULTISETS)
    env = system().env
    ours = {numbers for numbers in MULTISETS if solvable(env, numbers)}
    assert ours == {numbers for numbers, record in records.items() if record["sos"]}
    rational = {numbers for numbers, record in records.items() if record["rational"]}
    assert (len(ours), len(rational - ours), len(ours - rational)) == (1346, 16, 0)
    assert {(1, 3, 4, 6), (1, 4, 5, 6), (1, 5, 5, 5), (1, 6, 6, 8), (3, 3, 7, 7)} <= rational - ours


def test_the_solver_and_the_sixteen_are_those_of_the_oracle() -> None:
    env, counts = system().env, {"ours": 0, "more": 0, "none": 0}
    for numbers in MULTISETS[:: plain(7, 90)]:
        found = naive.reaches(numbers, 24, fractions=False)
        assert solvable(env, numbers) == found
        rational = naive.reaches(numbers, 24, fractions=True)
        assert rational or not found
        counts["ours" if found else "more" if rational else "none"] += 1
    assert sum(counts.values()) == len(MULTISETS[:: plain(7, 90)])
    assert counts["ours"] > plain(150, 5)
    assert counts["none"] > plain(50, 2)
    assert naive.reaches((1, 3, 4, 6), 24, fractions=True)
    assert naive.reaches((1, 5, 5, 5), 24, fractions=True)
    assert not naive.reaches((1, 3, 4, 6), 24, fractions=False)


def test_a_smaller_bound_would_lose_some_of_them() -> None:
    env = system().env
    assert env.max_value == 169
    assert solvable(env, (1, 1, 13, 13)) == solvable(env._replace(max_value=2**31 - 1), (1, 1, 13, 13))
    assert sum(solvable(env._replace(max_value=168), numbers) for numbers in MULTISETS) == 1345


def test_all_of_them_are_tested_and_none_is_trained_on() -> None:
    built = system()
    tested = evaluation_problems(built.env, built.splits, "val_target", 1362)
    sets = {tuple(sorted(row[2:])) for row in tested.tolist()}
    assert len(tested) == len(sets) == 1346
    assert set(tested[:, 0].tolist()) == {24}
    for split in ("train", "val"):
        targets = set(sample_problems(built.env, built.splits, split, plain(4000, 100))[:, 0].tolist())
        assert 24 not in targets
        assert targets == set(range(10, 101)) - {24} or not plain(1, 0)
    source = build_trace_source(compose(["experiment=game24"]))
    assert 24 not in source.chunk(0, plain(300, 20)).problems[:, 0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["data.held_out=[101]"],
            "data.held_out=[101]: 101 is no group of problems that can be held out; the groups of",
        ),
        (["data.held_out=[24,24]"], "data.held_out=[24,24] names a group twice"),
        (
            ["experiment=sudoku", "data.held_out=[1]"],
            "1 is no group of problems that can be held out",
        ),
        (["experiment=sudoku", "data.held_out=[0]"], "data.held_out=[0] leaves no group of problems"),
        (["data.held_out=[24]", "data.held_out_fraction=0.2"], "has no use with data.held_out=[24]"),
        (["data.held_out=24"], "data.held_out must be a list of whole numbers, such as [24], got 24"),
    ],
)
def test_groups_that_cannot_be_held_out_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build_system(compose(words))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_named_groups_are_held_out_in_their_order() -> None:
    splits = make_splits(Countdown(), 0.1, 0.5, [30, 12])
    assert splits.held_out.tolist() == [12, 30]
    assert splits.groups.tolist() == [target for target in range(10, 101) if target not in (12, 30)]
    assert splits.val_threshold == make_splits(Countdown(), 0.1, 0.5).val_threshold


def test_a_key_that_came_later_changes_no_hash_and_no_recipe_where_it_has_its_default() -> None:
    plain_config, held = compose([]), compose(["data.held_out=[24]"])
    values = to_dict(plain_config)
    before = values | {"data": {key: value for key, value in values["data"].items() if key != "held_out"}}
    assert values != before
    assert config_hash(before) == config_hash(values) == config_hash(Config()) != config_hash(held)
    made: list[dict[str, Any]] = [recipe(config, "traces", "train") for config in (plain_config, held)]
    assert "held_out" not in made[0]["data"]
    assert config_of({"recipe": made[1]}).data.held_out == [24]
    assert recipe_difference(*made) == ("data.held_out", [], [24])
    assert recipe_difference(*reversed(made)) == ("data.held_out", [24], [])
