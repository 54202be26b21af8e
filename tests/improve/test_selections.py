"""Selections against the released resampling, exact chances, and what must hold whatever the batch."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drivers import read_jsonl
from hypothesis import given
from hypothesis import strategies as st

from sos.errors import UserError
from sos.improve.selections import SELECTIONS, difficulty_classes, first_draw, inclusion, select
from sos.improve.selections_options import CLASSES, KINDS, Columns, Selection
from sos.rng import stream_key

KEY = stream_key(0, "selection")


def columns(groups: Any, rewards: Any, penalties: Any = None, lengths: Any = None, classes: Any = None) -> Columns:
    num = len(groups)
    return Columns(
        np.array(groups, np.int64),
        np.array(rewards, np.float64),
        np.arange(num) if lengths is None else np.array(lengths),
        np.zeros(num) if penalties is None else np.array(penalties, np.float64),
        np.zeros(num),
        None if classes is None else np.array(classes, np.int8),
    )


def released(options: dict[str, Any], world_size: int) -> Selection:
    """The released options in our words."""
    return Selection(
        "roc_greedy",
        num=options["down_sample_to_n"],
        reject_equal=options["reject_equal_reward"],
        use_errors=options["roc_error_ratio"],
        use_format=options["roc_answer_format"],
        min_wrong=options["min_zero_reward_trace_num"],
        min_right=options["min_non_zero_reward_trace_num"],
        multiple_of=world_size,
    )


def test_resampling_keeps_what_the_released_code_keeps(reference: Path) -> None:
    kept = raised = chances = 0
    for row in read_jsonl(reference / "losses" / "roc.jsonl"):
        names = {name: number for number, name in enumerate(dict.fromkeys(row["uid"]))}
        given = columns([names[name] for name in row["uid"]], row["rewards"], row["p_err"])
        given = given._replace(format_penalties=np.array(row["p_format"]))
        options = released(row["options"], row["world_size"])
        if "raised" in row:
            with pytest.raises(UserError, match="do not come to it"):
                select(given, options, KEY)
            raised += 1
        else:
            assert select(given, options, KEY).tolist() == (row["kept"] or []), row["id"]
            kept += 1
        for paper in row["paper"].values():
            np.testing.assert_allclose(first_draw(paper["penalty"]), paper["first_draw"], atol=1e-12)
            if "inclusion" in paper:
                np.testing.assert_allclose(inclusion(paper["penalty"], paper["draws"]), paper["inclusion"], atol=1e-12)
                chances += 1
    assert kept >= 20
    assert raised >= 2
    assert chances >= 20


def test_chances_are_those_of_all_orders() -> None:
    """The exact chances against the sum over every order in which the rollouts can be drawn."""
    penalties = [0.5, 1.0, 0.25, 2.0, 1.0]
    for draws in range(6):
        found = np.zeros(5)
        for order in itertools.permutations(range(5), draws):
            chance, left = 1.0, [1 / penalty for penalty in penalties]
            for place in order:
                chance *= left[place] / sum(left)
                left[place] = 0.0
            found[list(order)] += chance
        np.testing.assert_allclose(inclusion(penalties, draws), found, atol=1e-12)
    with pytest.raises(UserError, match="worked out for up to 16"):
        inclusion([1.0] * 17, 2)


@pytest.mark.parametrize("kind", ["roc_inverse", "reverse_roc"])
def test_draws_have_the_chances_of_the_paper(kind: str) -> None:
    """3,000 keys: the shares agree with the exact chances to four standard errors."""
    penalties = np.array([0.5, 1.0, 0.25, 2.0, 1.0, 0.5])
    given = columns([0] * 12, [1.0] * 6 + [0.0] * 6, [*penalties, *([0.7] * 6)])
    options, num = Selection(kind, num=6, min_right=0, min_wrong=0), 3000
    kept = np.zeros(12)
    for k in range(num):
        kept[select(given, options, stream_key(k, "draws"))] += 1 / num
    exact = inclusion(penalties if kind == "roc_inverse" else 1 / penalties, 3)
    wanted = np.concatenate([exact, np.full(6, 0.5)])
    assert (np.abs(kept - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / num)).all(), kept - wanted


def test_without_penalty_comes_first_and_reversed_last() -> None:
    given = columns([0] * 8, [1.0] * 4 + [0.0] * 4, [1.0, 0.0, 0.5, 0.0, 0, 0, 0, 0])
    for k in range(30):
        key = stream_key(k, "zeros")
        options = {"num": 4, "min_right": 0, "min_wrong": 0}
        assert set(select(given, Selection("roc_inverse", **options), key)) >= {1, 3}
        assert set(select(given, Selection("reverse_roc", **options), key)) >= {0, 2}


def test_the_shortest_right_ones_stay_whatever_their_penalties() -> None:
    seen = set()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        lengths, penalties = rng.permutation(12), rng.random(12)
        given = columns([0] * 12, [1] * 7 + [0] * 5, penalties, lengths)
        kept = select(given, Selection("roc_shortest", num=6), stream_key(seed, "shortest"))
        right = [k for k in kept if k < 7]
        assert right == sorted(np.argsort(lengths[:7])[: len(right)])
        assert (len(right), len(kept)) == (3, 6)
        seen |= {tuple(k for k in kept if k >= 7)}
    assert len(seen) == 10  # any three of the five wrong ones


def test_filtering_both_classes_keeps_the_better_wrong_ones() -> None:
    given = columns([0] * 8, [1.0] * 4 + [0.0] * 4, [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    kept = {tuple(select(given, Selection("filter_both", num=4), stream_key(k, "both"))) for k in range(30)}
    assert kept == {(1, 3, 5, 7)}


def test_small_selections() -> None:
    given = columns([5, 5, 2, 2, 5, 2, 9], [1, 0, 0, 1, 1, 1, 0], lengths=[8, 1, 1, 7, 6, 7, 2])
    found = {
        kind: select(given, Selection(kind), KEY).tolist()
        for kind in ("all", "solved", "shortest_solved", "first_correct", "edge_of_competence")
    }
    assert found == {
        "all": list(range(7)),
        "solved": [0, 3, 4, 5],
        "shortest_solved": [3, 4],
        "first_correct": [0, 3],
        "edge_of_competence": [0, 1, 2, 3, 4, 5],
    }
    assert select(given, Selection("shortest_solved", num=2), KEY).tolist() == [0, 3, 4, 5]
    faults = {
        "error_penalties": np.array([0, 0, 0, 0.1, 0, 0, 0]),
        "format_penalties": np.array([0, 0, 0, 0, 0, 1.0, 0]),
    }
    assert select(given._replace(**faults), Selection("clean"), KEY).tolist() == [0, 4]
    assert select(given, Selection("edge_of_competence", rate_high=0.5), KEY).tolist() == []
    assert select(given, Selection("edge_of_competence", rate_low=0, rate_high=0.1), KEY).tolist() == [6]


def test_balanced_keeps_as_many_of_each() -> None:
    given = columns([0] * 7 + [1] * 3, [1, 0, 0, 0, 1, 1, 1, 0, 0, 0])
    for k in range(20):
        kept = select(given, Selection("balanced", num=4), stream_key(k, "balanced"))
        assert Counter(given.rewards[kept]) == {1.0: 2, 0.0: 2}
        assert kept.max() < 7


def test_classes_of_problems() -> None:
    correct = [8, 5, 4, 1, 0, 0, 0, 0]
    known = difficulty_classes(
        correct, 8, more_correct=[200, 150, 120, 40, 3, 0, 0, 0], solvable=[True] * 6 + [True, False]
    )
    names = ["easy", "easy", "medium", "medium", "recoverable", "latent", "latent", "impossible"]
    assert [CLASSES[number] for number in known] == names
    assert difficulty_classes(correct, 8).tolist() == [0, 0, 1, 1, -1, -1, -1, -1]
    assert difficulty_classes([0, 0], 8, solvable=[True, False]).tolist() == [-1, CLASSES.index("impossible")]
    with pytest.raises(UserError, match="num_correct must be between 0 and num_samples"):
        difficulty_classes([9], 8)


def test_selection_by_class() -> None:
    groups, rewards = [0, 0, 0, 0, 1, 1, 2, 2], [1, 0, 0, 0, 1, 1, 0, 0]
    given = columns(groups, rewards)
    assert select(given, Selection("of_class"), KEY).tolist() == [0, 1, 2, 3]
    assert select(given, Selection("of_class", classes=["easy"]), KEY).tolist() == [4, 5]
    with pytest.raises(UserError, match="no class before more samples"):
        select(given, Selection("of_class", classes=["latent"]), KEY)
    measured = columns(groups, rewards, classes=[3, 3, 3, 3, 0, 0, 4, 4])
    assert select(measured, Selection("of_class", classes=["latent", "impossible"]), KEY).tolist() == [0, 1, 2, 3, 6, 7]


def random_batch(seed: int) -> Columns:
    """Up to 24 rollouts of up to 4 groups, in any order."""
    rng = np.random.default_rng(seed)
    num = rng.integers(25)
    penalties = rng.choice([0.0, 0.25, 0.5, 1.0], num)
    return columns(rng.integers(rng.integers(1, 5), size=num), rng.integers(2, size=num), penalties)


seeds = st.integers(0, 2**32)


def options_of(kind: str) -> Selection:
    num = {"num": 4, "min_right": 1, "min_wrong": 1} if "roc" in kind or kind == "filter_both" else {}
    return Selection(kind, **num)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=seeds)
def test_indices_ascend_and_groups_do_not_see_each_other(kind: str, seed: int) -> None:
    """What is kept of a group is what is kept of it alone, whatever its neighbours, and in whatever order they come."""
    given_batch, options = random_batch(seed), options_of(kind)
    if kind == "of_class" and len(given_batch.groups):
        options = Selection(kind, classes=["easy", "medium"])
    kept = select(given_batch, options, KEY)
    assert kept.dtype == np.int64
    assert (np.diff(kept) > 0).all()
    assert (select(given_batch, options, KEY) == kept).all()
    alone = []
    for group in np.unique(given_batch.groups):
        places = np.flatnonzero(given_batch.groups == group)
        part = Columns(*(None if column is None else column[places] for column in given_batch))
        alone += places[select(part, options, KEY)].tolist()
    assert sorted(alone) == kept.tolist()


@pytest.mark.parametrize("kind", ["roc_inverse", "reverse_roc", "filter_both", "roc_shortest", "roc_greedy"])
@given(seed=seeds, num=st.integers(1, 6))
def test_resampling_keeps_num_of_a_mixed_group(kind: str, seed: int, num: int) -> None:
    given_batch = random_batch(seed)
    options = Selection(kind, num=2 * num, min_right=1, min_wrong=1)
    try:
        kept = select(given_batch, options, KEY)
    except UserError:
        assert kind == "roc_greedy"  # its quotas, each rounded for itself
        return
    for group in np.unique(given_batch.groups):
        of_group = given_batch.groups == group
        size, right = int(of_group.sum()), int(given_batch.rewards[of_group].sum())
        inside = kept[of_group[kept]]
        if right in (0, size) or (kind == "roc_greedy" and size < 2 * num):
            assert len(inside) == 0
            continue
        assert len(inside) == min(size, 2 * num)
        assert 0 < given_batch.rewards[inside].sum() < len(inside)


def test_every_option_is_used_and_every_selection_has_a_name() -> None:
    assert tuple(SELECTIONS) == KINDS
    mixed = columns([0] * 16, [1.0] * 6 + [0.0] * 10, [1.0, 0.25, 1.0, 0.0, 0.5, 0.25] + [0.5] * 10)
    mixed = mixed._replace(format_penalties=np.array([0, 1.0, 0, 1.0, 0, 0, *([0.0] * 10)]))
    right = columns([0] * 16, [1.0] * 16)
    few = columns([0] * 16, [1.0] + [0.0] * 15)
    changes: dict[str, tuple[Columns, dict[str, Any], Any]] = {
        "kind": (mixed, {}, "solved"),
        "num": (mixed, {"kind": "random"}, 3),
        "reject_equal": (right, {"kind": "roc_inverse"}, False),
        "use_errors": (mixed, {"kind": "roc_greedy"}, False),
        "use_format": (mixed, {"kind": "roc_greedy"}, False),
        "min_wrong": (mixed, {"kind": "roc_inverse", "num": 8}, 6),
        "min_right": (few, {"kind": "roc_inverse", "num": 8}, 0),
        "multiple_of": (mixed, {"kind": "roc_greedy", "num": 8}, 3),
        "classes": (mixed, {"kind": "of_class"}, ["easy"]),
        "rate_low": (mixed, {"kind": "edge_of_competence"}, 0.5),
        "rate_high": (mixed, {"kind": "edge_of_competence"}, 0.3),
    }
    assert set(changes) == {field.name for field in dataclasses.fields(Selection)}
    for name, (among, others, value) in changes.items():
        before = select(among, Selection(**others), KEY).tolist()
        assert before != select(among, Selection(**others | {name: value}), KEY).tolist(), name


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"kind": "best"}, "selection.kind must be one of all, solved"),
        ({"kind": "solved", "num": 3}, "selection.num=3 has no use with selection.kind=solved"),
        ({"kind": "of_class", "classes": ["hard"]}, r"selection.classes must name some of easy, .*, got \['hard'\]"),
        ({"kind": "edge_of_competence", "rate_low": 0.9}, "selection.rate_low=0.9 is above selection.rate_high=0.75"),
        ({"kind": "roc_greedy", "num": 3}, "are more than selection.num=3"),
    ],
)
def test_what_cannot_be_is_refused_by_name(said: dict[str, Any], wrong: str) -> None:
    with pytest.raises(UserError, match=wrong):
        Selection(**said)
