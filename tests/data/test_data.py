"""Splits, streams, packing and the loader: pure functions of (seed, index), whole traces only."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from drivers import run_search
from sizes import plain

from sos.data.loader import Budget, Cursor, LengthWarmup, PackedLoader, Ranks
from sos.data.packing import IGNORE, pack
from sos.data.splits import evaluation_problems, in_val, make_splits, sample_problems
from sos.data.streams import StreamSource
from sos.envs.countdown.rules import Countdown
from sos.search.depth_first import DepthFirst
from sos.stream.codec import decode
from sos.stream.dialect.compile import load_dialect
from sos.stream.verify import verify_tokens
from sos.stream.views import FULL, SOLUTION_PATH, View
from sos.trace import Outcome

ENV = Countdown(3, 1, 20, 10, 50, 100)
SPLITS = make_splits(ENV, 0.1, 0.1)
SEARCH = DepthFirst(heuristic=1, use_threshold=False, skip_seen=True, announce_leaves=False)
DIALECT = load_dialect("compact", ENV, 100)


FULL_VIEW = View(FULL)


def source(view: View = FULL_VIEW, seed: int = 1, num_problems: int = 0, context: int = 256) -> StreamSource:
    return StreamSource(ENV, SEARCH, view, DIALECT, SPLITS, context, seed, num_problems=num_problems, max_nodes=2000)


def loader(match: str = "tokens", amount: int = 40_000, **options) -> PackedLoader:
    options = {"rows_per_batch": 8, "block": 128, "prompt_loss": False} | options
    return PackedLoader(options.pop("source", None) or source(), Budget(match, amount), **options)


def same_batches(a, b) -> bool:
    return all(torch.equal(a[key], b[key]) for key in ("tokens", "targets", "positions", "doc_ids", "kinds"))


def test_splits_share_no_number_set_and_no_target():
    drawn = {split: sample_problems(ENV, SPLITS, split, plain(400, 40)) for split in ("train", "val", "val_target")}
    held = set(SPLITS.held_out.tolist())
    assert len(held) == 4
    for split in ("train", "val"):
        assert not held & set(drawn[split][:, 0].tolist())
    assert set(drawn["val_target"][:, 0].tolist()) <= held
    sets = {split: {tuple(sorted(row[2:])) for row in rows.tolist()} for split, rows in drawn.items()}
    assert not sets["train"] & sets["val"]
    assert all(in_val(ENV, SPLITS, row) for row in drawn["val"])
    flipped = drawn["val"][0].copy()
    flipped[2:] = flipped[:1:-1]
    assert in_val(ENV, SPLITS, flipped)  # the order of the numbers does not matter


def test_samples_do_not_depend_on_where_the_range_starts():
    whole = sample_problems(ENV, SPLITS, "train", 50, seed=3)
    parts = [sample_problems(ENV, SPLITS, "train", 10, seed=3, start=s) for s in (40, 0, 20, 10, 30)]
    assert np.array_equal(whole, np.concatenate([parts[k] for k in (1, 3, 2, 4, 0)]))
    assert not np.array_equal(whole, sample_problems(ENV, SPLITS, "train", 50, seed=4))


def test_descending_problems_are_the_same_ones_sorted():
    for split in ("train", "val", "val_target"):
        drawn = sample_problems(ENV, SPLITS, split, 300)
        listed = sample_problems(ENV._replace(descending=True), SPLITS, split, 300)
        np.testing.assert_array_equal(listed[:, :2], drawn[:, :2])
        np.testing.assert_array_equal(listed[:, 2:], -np.sort(-drawn[:, 2:], axis=1))


def test_targets_are_uniform_and_unsolvable_problems_can_be_had():
    targets = sample_problems(ENV, SPLITS, "train", 3700)[:, 0]
    counts = np.array([(targets == t).sum() for t in SPLITS.groups])
    expected = len(targets) / len(counts)
    assert ((counts - expected) ** 2 / expected).sum() < 70  # chi-square with 36 degrees of freedom, p = 0.0006
    for row in sample_problems(ENV, SPLITS, "val", 20, solvable=False):
        assert run_search(SEARCH, ENV, row).outcome == Outcome.EXHAUSTED


def test_an_environment_without_problems_is_an_error():
    hopeless = Countdown(2, 1, 2, 50, 60, 100)
    with pytest.raises(ValueError, match="no solvable problem of split train with target 5"):
        sample_problems(hopeless, make_splits(hopeless, 0.1, 0.1), "train", 1)


def test_evaluation_problems_are_distinct():
    problems = evaluation_problems(ENV, SPLITS, "val", plain(300, 30))
    assert len({(row[0], *sorted(row[2:])) for row in problems.tolist()}) == len(problems) == plain(300, 30)


def test_filled_and_own_arrays_hold_the_same():
    reused, other = source(), source()
    for start in (0, 30):
        for a, b in zip(reused.fill(start, start + 30), other.chunk(start, start + 30), strict=True):
            assert np.array_equal(a, b)
    first = other.chunk(0, 30)
    before = first.tokens.copy()
    other.chunk(30, 60)
    assert np.array_equal(first.tokens, before)


def test_streams_are_the_same_bytes_however_the_work_is_cut():
    whole = source().chunk(0, 60)
    for cuts in ((0, 60), (0, 7, 60), (0, 30, 31, 60)):
        parts = [source().chunk(a, b) for a, b in pairwise(cuts)]
        assert np.array_equal(np.concatenate([p.tokens for p in parts]), whole.tokens)
        assert np.array_equal(np.concatenate([p.visits for p in parts]), whole.visits)


def test_every_stream_solves_its_problem_and_arms_share_problems():
    full, path = source().chunk(0, 50), source(View(SOLUTION_PATH)).chunk(0, 50)
    for k in range(50):
        pair = []
        for chunk in (full, path):
            tokens = chunk.tokens[chunk.offsets[k] : chunk.offsets[k + 1]]
            problem = decode(DIALECT, ENV, tokens).trace.problem
            verdict, _, _ = verify_tokens(DIALECT, ENV, problem, tokens)
            assert verdict.solved
            assert not verdict.errors.any()
            pair.append(problem.tolist())
        assert pair[0] == pair[1]


def test_a_fixed_data_set_visits_every_problem_once_per_epoch():
    chunk = source(num_problems=40).chunk(0, 80)
    streams = [tuple(chunk.tokens[a:b].tolist()) for a, b in pairwise(chunk.offsets)]
    assert sorted(streams[:40]) == sorted(streams[40:])
    assert streams[:40] != streams[40:]


def test_packing_loses_nothing_and_keeps_streams_whole_and_apart():
    num = plain(300, 60)
    chunk = source().chunk(0, num)
    rows = pack(chunk, 256, np.uint64(1))
    assert rows.tokens.shape[1] == 256
    found = []
    for r in range(len(rows.tokens)):
        for doc in range(rows.doc_ids[r].max() + 1):
            at = np.flatnonzero(rows.doc_ids[r] == doc)
            assert (np.diff(at) == 1).all()
            assert np.array_equal(rows.positions[r, at], np.arange(len(at)))
            targets = rows.targets[r, at]
            prompt = int((targets == IGNORE).sum()) + 1
            stream = [*rows.tokens[r, at].tolist(), int(targets[-1])]
            assert targets[prompt - 1 :].tolist() == stream[prompt:]
            assert stream[-1] == 2  # the end token is in the loss
            found.append((prompt, tuple(stream)))
    expected = [
        (int(chunk.prompts[k]), tuple(chunk.tokens[chunk.offsets[k] : chunk.offsets[k + 1]].tolist()))
        for k in range(num)
    ]
    assert sorted(found) == sorted(expected)
    assert (rows.doc_ids >= 0).mean() > plain(0.9, 0.7)
    assert ((rows.kinds >= 0) == (rows.targets != IGNORE)).all()


def test_prompt_loss_makes_the_prompt_a_target():
    chunk = source().chunk(0, 50)
    rows = pack(chunk, 256, np.uint64(1), prompt_loss=True)
    assert ((rows.targets != IGNORE) == (rows.doc_ids >= 0)).all()


@pytest.mark.parametrize("length_warmup", [0.0, 0.7])
def test_a_batch_sequence_continues_from_any_cursor(length_warmup: float):
    batches = list(loader(warmup=LengthWarmup(length_warmup)))
    assert batches[-1]["cursor"]["tokens"] >= 40_000 > batches[-2]["cursor"]["tokens"]
    for at in (0, 3, len(batches) - 2):
        rest = list(loader(cursor=Cursor(**batches[at]["cursor"]), warmup=LengthWarmup(length_warmup)))
        assert len(rest) == len(batches) - at - 1
        assert all(same_batches(a, b) for a, b in zip(batches[at + 1 :], rest, strict=True))


@pytest.mark.parametrize("match", ["tokens", "problems"])
def test_the_longest_stream_grows_over_the_warm_up(match: str):
    amount = 40_000 if match == "tokens" else 1_000
    batches = list(loader(match, amount, block=64, warmup=LengthWarmup(0.5, 0.3)))
    limits = [batch["cursor"]["longest"] for batch in batches]
    assert limits == sorted(limits)
    assert limits[0] == round(0.3 * 256)
    assert limits[-1] == 256
    assert len(set(limits)) > 3
    lengths = [int(batch["positions"].max()) + 1 for batch in batches]
    assert all(length <= limit for length, limit in zip(lengths, limits, strict=True))
    assert max(lengths[: len(lengths) // 4]) < max(lengths)
    assert [LengthWarmup(0.5, 0.3).longest(256, p) for p in (0.0, 0.25, 0.5, 0.9)] == [77, 166, 256, 256]
    last = batches[-1]["cursor"]
    if match == "problems":
        assert last["streams"] + last["dropped"] == amount
    limit = r"data\.context=256 times data\.length_start=0\.02 \(5 tokens\)"
    with pytest.raises(ValueError, match=f"128 streams are longer than {limit}"):
        list(loader(warmup=LengthWarmup(0.5, 0.02)))


def test_streams_up_to_a_length_are_the_others_left_out():
    chunk = source().chunk(0, 200)
    shorter = chunk.up_to(60)
    lengths = np.diff(chunk.offsets)
    assert 0 < len(shorter.prompts) < len(lengths)
    assert shorter.num_dropped == chunk.num_dropped + (lengths > 60).sum()
    streams = [chunk.tokens[a:b].tolist() for a, b in pairwise(chunk.offsets) if b - a <= 60]
    assert [shorter.tokens[a:b].tolist() for a, b in pairwise(shorter.offsets)] == streams
    kinds = [chunk.kinds[a:b].tolist() for a, b in pairwise(chunk.offsets) if b - a <= 60]
    assert [shorter.kinds[a:b].tolist() for a, b in pairwise(shorter.offsets)] == kinds
    for name in ("prompts", "visits", "strategies"):
        assert getattr(shorter, name).tolist() == getattr(chunk, name)[lengths <= 60].tolist()
    assert chunk.up_to(256) is chunk


def test_matching_on_problems_visits_exactly_that_many():
    for view in (View(FULL), View(SOLUTION_PATH)):
        batches = list(loader("problems", 300, source=source(view)))
        cursor = batches[-1]["cursor"]
        assert cursor["streams"] + cursor["dropped"] == 300
        progress = [b["progress"] for b in batches]
        assert progress == sorted(progress)
        assert 0 <= progress[0] < progress[-1] < 1


class Clock:
    """A clock that a test moves on."""

    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_seconds_are_used_up_from_the_end_of_the_first_step_on():
    """As the trainer does it, which asks for a batch before the step of the one before it."""
    whole = list(loader())
    timed, clock = loader("seconds", 10), Clock()
    timed.clock = clock
    shares = []
    for made, batch in enumerate(timed):
        assert same_batches(batch, whole[made])  # the same batches as any budget's
        shares.append(batch["progress"])
        clock.now += (0, 100, 2.5)[min(made, 2)]  # the first step compiles
    assert shares == [0, 0, 0, 0.25, 0.5, 0.75]


def test_a_run_of_seconds_goes_on_with_those_that_are_left():
    def run(cursor: Cursor, steps: int) -> tuple[list[float], Cursor]:
        timed, clock = loader("seconds", 10, cursor=cursor), Clock()
        timed.clock = clock
        shares = []
        for batch in timed:
            shares.append(batch["progress"])
            clock.now += 2.5
            if len(shares) == steps:
                break
        return shares, Cursor(**batch["cursor"])

    first, cursor = run(Cursor(), 4)
    assert first == [0, 0, 0, 0.25]
    assert cursor.train_seconds == 2.5
    assert cursor.complaint(Budget("seconds", 10), 128, 256) is None
    second, _ = run(cursor, 99)
    assert second == [0.25, 0.25, 0.25, 0.5, 0.75]
    assert list(loader("seconds", 10, cursor=replace(cursor, train_seconds=10.0))) == []


def test_ranks_share_the_rows_of_the_single_rank():
    whole = list(loader())
    ranks = [list(loader(ranks=Ranks(r, 2))) for r in range(2)]
    for k, batch in enumerate(whole):
        for key in ("tokens", "targets", "doc_ids"):
            merged = torch.stack([ranks[r][k][key] for r in range(2)], 1).flatten(0, 1)
            assert torch.equal(merged, batch[key])
        assert asdict(Cursor(**batch["cursor"]))["tokens"] == ranks[1][k]["cursor"]["tokens"]


def test_a_run_that_continues_on_other_numbers_of_ranks_sees_the_same_rows():
    """One rank for three steps, then two for three, then eight: every batch holds the rows of an undisturbed run."""
    whole = list(loader())
    cursor, step = Cursor(), 0
    for world_size, steps in ((1, 3), (2, 3), (8, len(whole) - 6)):
        ranks = [iter(loader(ranks=Ranks(r, world_size), cursor=cursor)) for r in range(world_size)]
        for _ in range(steps):
            parts = [next(rank) for rank in ranks]
            cursors = [{k: v for k, v in part["cursor"].items() if k != "data_seconds"} for part in parts]
            assert all(c == cursors[0] for c in cursors)
            assert parts[0]["progress"] == whole[step]["progress"]
            assert parts[0]["num_targets"] == whole[step]["num_targets"]
            for key in ("tokens", "targets", "positions", "doc_ids", "kinds"):
                merged = torch.stack([part[key] for part in parts], 1).flatten(0, 1)
                assert torch.equal(merged, whole[step][key])
            step += 1
        cursor = Cursor(**parts[0]["cursor"])
    assert step == len(whole)


def test_the_dropped_are_counted_and_a_context_nothing_fits_is_an_error():
    cursor = list(loader("problems", 128, source=source(context=64)))[-1]["cursor"]
    assert cursor["dropped"] > 0
    assert cursor["streams"] + cursor["dropped"] == 128
    with pytest.raises(ValueError, match=r"data\.context=12"):
        list(loader(source=source(context=12)))


@pytest.mark.parametrize(
    ("match", "amount", "share"), [("tokens", 20_000, 0.0), ("tokens", 20_000, 0.7), ("problems", 300, 0.0)]
)
def test_every_cursor_of_a_run_is_possible_and_a_changed_one_is_not(match: str, amount: int, share: float):
    budget = Budget(match, amount)
    cursors = [Cursor(**batch["cursor"]) for batch in loader(match, amount, warmup=LengthWarmup(share))]
    assert len(cursors) > 5
    assert [cursor.complaint(budget, 128, 256) for cursor in (Cursor(), *cursors)] == [None] * (len(cursors) + 1)
    cursor = cursors[len(cursors) // 2]
    changes = [
        ("block", cursor.block + 1),
        ("block", -1),
        ("streams", cursor.streams + 200),
        ("dropped", True),
        ("tokens", 0),
    ]
    changes += [
        ("longest", 257),
        ("data_seconds", float("nan")),
        ("data_seconds", None),
        ("train_seconds", -1.0),
        ("train_seconds", float("inf")),
        ("row", 1.0),
        ("tokens", 2**70),
    ]
    assert all(replace(cursor, **{key: value}).complaint(budget, 128, 256) for key, value in changes)


def test_a_cursor_behind_the_rows_of_its_block_is_refused():
    batch = list(loader())[3]
    for key, value in (("row", 10_000), ("longest", 100)):
        with pytest.raises(ValueError, match="damaged cursor"):
            list(loader(cursor=replace(Cursor(**batch["cursor"]), **{key: value})))
