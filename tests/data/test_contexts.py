"""Contexts of training streams: out of the loss, pure functions of the visit, and what they say of which problem."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shard_sets import job
from sizes import plain

from sos.compose import compose
from sos.config import Config, to_dict
from sos.context.draws import Asked, asked_at, draw_key
from sos.context.forms import read_context
from sos.context.items import said
from sos.data.contexts import ContextSource
from sos.data.packing import IGNORE, pack
from sos.data.streams import StreamSource
from sos.datasets.make import generate
from sos.datasets.read import ShardSource
from sos.datasets.source import build_source, build_trace_source, context_source
from sos.datasets.verify import verify_set
from sos.envs import protocol as environment
from sos.errors import UserError
from sos.rng import stream_key
from sos.schema.slot import DOSES, WHOLE_PLANS
from sos.stream.verify import verify_tokens
from sos.system import System, build_system
from sos.trace import PARENT

WORDS = [
    "experiment=smoke",
    "slot=hint",
    "slot.follow=0.0",
    "slot.follow=0",
    "slot.dropout=0.3",
    "slot.misleading=0.2",
    "slot.irrelevant=0.2",
    "slot.filler=0.2",
]
NUM = plain(300, 30)


@cache
def made(*more: str) -> tuple[Config, System, StreamSource]:
    config = compose([*WORDS, "data.context=1000", *more])
    system = build_system(config)
    source = build_source(config, system)
    assert isinstance(source, StreamSource)
    return config, system, source


def streams(source: Any, start: int, stop: int) -> dict[int, list[int]]:
    chunk = source.chunk(start, stop)
    return {int(v): chunk.tokens[a:b].tolist() for v, (a, b) in zip(chunk.visits, pairwise(chunk.offsets), strict=True)}


def test_a_stream_is_the_same_whatever_was_asked_for_with_it() -> None:
    _, _, source = made()
    whole = streams(source, 0, NUM)
    parts: dict[int, list[int]] = {}
    for start in (2 * NUM // 3, 0, NUM // 3):
        parts |= streams(source, start, start + NUM // 3)
    assert len(whole) == NUM
    assert parts == whole


def test_without_its_context_a_stream_is_that_of_a_base_without_the_slot() -> None:
    _, system, source = made()
    config = compose(["experiment=smoke", "data.context=1000"])
    bare = streams(build_source(config, build_system(config)), 0, NUM)
    with_contexts = 0
    for visit, tokens in streams(source, 0, NUM).items():
        found = read_context(system.dialect, np.array(tokens))
        assert found.sound
        assert [tokens[0], *tokens[found.position :]] == bare[visit]
        with_contexts += bool(found.items)
    assert with_contexts / NUM == pytest.approx(0.7, abs=0.1 if NUM > 100 else 0.3)


def test_each_context_is_what_was_drawn_for_its_visit() -> None:
    config, system, source = made()
    env: Any = system.env
    assert system.slot is not None
    traces = list(build_trace_source(config).chunk(0, NUM).traces())
    contexts = source.contexts
    assert isinstance(contexts, ContextSource)
    plans = contexts.plans(*build_trace_source(config).fill(0, NUM)[:2])
    key, seen = draw_key(config.seed, "train"), set()
    for visit, tokens in streams(source, 0, NUM).items():
        asked = asked_at(system.slot, key, visit)
        items = read_context(system.dialect, np.array(tokens)).items
        if asked is None:
            assert not items
            continue
        (item,) = items
        assert item.name == f"hint:{asked.dose}"
        plan, trace = plans[visit], traces[visit]
        seen.add((asked.dose, asked.whose))
        if asked.whose == "filler":
            own = contexts.of_problems(trace.problem[None], Asked(asked.dose))[0]
            assert item.filler == len(own) - 3
        elif asked.dose == "trace":
            assert item.trace is not None
            own_search = np.array_equal(item.trace.problem, trace.problem)
            assert own_search == (asked.whose == "own")
            if own_search:
                assert np.array_equal(item.trace.nodes[:, PARENT], trace.nodes[:, PARENT])
        elif asked.whose == "own":
            assert np.array_equal(item.actions, said(env, item.name, plan))
        else:
            wrong = asked.whose == "wrong" and leads_astray(env, trace, item, plan)
            # A hint of another problem is one of as many actions, which may by chance be this one's.
            assert wrong or len(item.actions) <= len(said(env, item.name, plan)) + (asked.dose == "classes")
    assert len(seen) >= (19 if NUM > 100 else 5)


def leads_astray(env: Any, trace: Any, item: Any, plan: np.ndarray) -> bool:
    """Say whether an item says the path to another node of the search than the goal, and none that says as much as the plan."""
    paths: list[list[int]] = [[]]
    for node, parent in enumerate(trace.nodes[1:, PARENT].tolist(), start=1):
        paths.append([*paths[parent], node])
    told = [said(env, item.name, trace.nodes[path, 2:]) for path in paths[1:]]
    return any(np.array_equal(actions, item.actions) for actions in told) and not np.array_equal(
        item.actions, said(env, item.name, plan)
    )


def test_behind_a_hint_of_its_whole_plan_a_stream_may_go_straight_along_it() -> None:
    """Those and no others are exchanged, for the stream that the view `solution_path` would have."""
    _, system, searched = made()
    _, _, straight = made("slot.follow=1.0")
    _, _, paths = made("slot.follow=0.0", "slot.dropout=1.0", "stream.view=solution_path")
    _, _, half = made("slot.follow=0.5")
    before, path = streams(searched, 0, NUM), streams(paths, 0, NUM)
    shares = []
    for source in (straight, half):
        followed = asked = 0
        for visit, tokens in streams(source, 0, NUM).items():
            found = read_context(system.dialect, np.array(before[visit]))
            position, own = found.position, straight_context(system, source, visit)
            behind = [tokens[0], *tokens[position:]]
            assert tokens[:position] == before[visit][:position]
            if not own:
                assert tokens == before[visit]
                continue
            asked += 1
            followed += behind == path[visit]
            assert behind in (path[visit], [tokens[0], *before[visit][position:]])
        shares.append(followed / asked)
        assert asked > NUM // 8
    assert shares[0] == 1.0
    assert shares[1] < 1.0 or NUM < 100


def straight_context(system: System, source: StreamSource, visit: int) -> bool:
    """Whether a visit's hint is its own, of a whole plan."""
    assert isinstance(source.contexts, ContextSource)
    assert source.contexts.plan is not None
    asked = asked_at(source.contexts.plan, draw_key(1, "train"), visit)
    return asked is not None and asked.whose == "own" and asked.dose in WHOLE_PLANS


ATTEMPTS = ("slot.kinds=[attempt]", "slot.doses=[failed,critique]", "slot.misleading=0.0")


def replayed(system: System, problem: np.ndarray, actions: np.ndarray) -> int:
    """The status of the state to which actions lead from the root; each must hold."""
    state, child = np.zeros(system.env.state_width, np.int32), np.zeros(system.env.state_width, np.int32)
    environment.root_state(system.env, problem, state)
    for action in actions:
        assert environment.judge(system.env, problem, state, action, child) == environment.HOLDS
        state, child = child.copy(), child
    return environment.status(system.env, problem, state)


def test_a_failed_attempt_leads_to_nothing_and_its_critique_stands_where_it_left_the_plan() -> None:
    config, system, source = made(*ATTEMPTS, "slot.follow=1.0")
    _, _, paths = made("slot.dropout=1.0", "stream.view=solution_path")
    assert isinstance(source.contexts, ContextSource)
    assert source.contexts.plan is not None
    path_of = streams(paths, 0, NUM)
    plans = source.contexts.plans(*build_trace_source(config).fill(0, NUM)[:2])
    bare = streams(made("slot.dropout=1.0")[2], 0, NUM)
    key, seen = draw_key(config.seed, "train"), Counter[str]()
    for visit, tokens in streams(source, 0, NUM).items():
        asked = asked_at(source.contexts.plan, key, visit)
        found = read_context(system.dialect, np.array(tokens))
        assert found.sound
        behind = [tokens[0], *tokens[found.position :]]
        if asked is None or asked.whose != "own" or not found.items:
            continue
        seen[asked.dose] += 1
        plan, failed = plans[visit], found.items[0]
        assert failed.name == "attempt:failed"
        problem = read_problem(system, np.array(tokens))
        assert replayed(system, problem, failed.actions) == environment.DEAD
        if asked.dose == "failed":
            assert len(found.items) == 1
            assert behind == bare[visit]
            continue
        (instead,) = found.items[1:]
        last = len(instead.actions) - 1
        assert np.array_equal(instead.actions, plan[: last + 1])
        assert np.array_equal(failed.actions[:last], plan[:last])
        assert not np.array_equal(failed.actions[last], plan[last])
        assert behind == path_of[visit]
    assert min(seen[dose] for dose in ("failed", "critique")) >= (30 if NUM > 100 else 1)
    others = source.contexts.of_problems(
        np.stack([read_problem(system, np.array(t)) for t in bare.values()][:8]), Asked("critique", "foreign")
    )
    assert all(len(tokens) for tokens in others)
    assert not {"<attempt:failed>", "<attempt:instead>"} & set(made()[1].dialect.vocab.ids)


def test_no_target_lies_in_a_context_or_a_problem() -> None:
    config, system, source = made()
    assert system.dialect.slot is not None
    chunk = source.chunk(0, NUM)
    rows = pack(chunk, config.data.context, np.uint64(stream_key(1, "rows")))
    targets = rows.targets[rows.targets != IGNORE]
    behind = [chunk.tokens[a + p : b] for a, b, p in zip(chunk.offsets, chunk.offsets[1:], chunk.prompts, strict=False)]
    assert np.array_equal(np.sort(targets), np.sort(np.concatenate(behind)))
    slot_tokens = {system.dialect.slot.begin, system.dialect.slot.end, *system.dialect.slot.items.values()}
    assert not slot_tokens & set(targets.tolist())
    assert slot_tokens <= set(rows.tokens.ravel().tolist())
    for start, stop, prompt in zip(chunk.offsets, chunk.offsets[1:], chunk.prompts, strict=False):
        tokens = chunk.tokens[start:stop].astype(np.int64)
        problem = tokens[np.r_[0, read_context(system.dialect, tokens).position : prompt]]
        assert len(set(chunk.kinds[start : start + prompt].tolist())) == 1
        assert len(problem) > 3


def test_what_does_not_fit_behind_its_context_is_left_out_and_counted() -> None:
    _, _, roomy = made()
    _, system, tight = made("data.context=90")
    whole = streams(roomy, 0, NUM)
    chunk = tight.chunk(0, NUM)
    assert set(chunk.visits.tolist()) == {visit for visit, tokens in whole.items() if len(tokens) <= 90}
    assert chunk.num_dropped == chunk.left_out.visits == NUM - len(chunk.visits) > 0
    assert system.context == 90


def test_shards_hold_the_contexts_and_their_recipe_says_so(tmp_path: Path) -> None:
    config, _, source = made()
    folder = tmp_path / "set"
    plan = job(folder, values=to_dict(config), visits=128, shard_size=64)
    generate(plan)
    with_shards = compose(
        [*WORDS, "data.context=1000", f"data.shards={folder}", "data.match=problems", "data.train_problems=100"]
    )
    shards = build_source(with_shards, build_system(with_shards))
    assert isinstance(shards, ShardSource)
    assert streams(shards, 0, 128) == streams(source, 0, 128)
    assert verify_set(plan) == 128
    other = compose([*WORDS, "slot.dropout=0.5", "data.context=1000", f"data.shards={folder}"])
    with pytest.raises(UserError, match=r"slot\.dropout"):
        build_source(other, build_system(other))


@pytest.mark.slow
def test_a_problem_without_a_solution_has_no_context() -> None:
    config = compose(["experiment=sat", "slot=hint", "slot.dropout=0.0", "slot.follow=1.0", "data.context=2048"])
    system = build_system(config)
    source = build_source(config, system)
    chunk = source.chunk(0, plain(60, 6))
    kinds = {True: 0, False: 0}
    for start, stop in pairwise(chunk.offsets):
        tokens = chunk.tokens[start:stop]
        problem = read_problem(system, tokens)
        verdict, _, _ = verify_tokens(system.dialect, system.env, problem, tokens)
        found = read_context(system.dialect, tokens)
        assert verdict.solved
        assert bool(found.items) == (not verdict.refuted)
        kinds[verdict.refuted] += 1
    assert min(kinds.values()) > 0
    contexts = context_source(system, config.seed, "train")
    assert contexts is not None


def read_problem(system: System, tokens: np.ndarray) -> np.ndarray:
    from sos.stream.codec import decode

    return decode(system.dialect, system.env, tokens).trace.problem


@pytest.mark.parametrize("dose", DOSES)
def test_hints_of_any_problems_are_made_one_by_one_as_well(dose: str) -> None:
    config, system, _ = made()
    contexts = context_source(system, 7, "val")
    assert contexts is not None
    problems = build_trace_source(config, "val").problems(0, 80)
    for whose in ("own", "filler") if dose == "trace" else ("own", "wrong", "foreign", "filler"):
        asked = Asked(dose, whose)
        together = contexts.of_problems(problems, asked)
        again = contexts.of_problems(problems, asked)
        assert all(np.array_equal(a, b) for a, b in zip(together, again, strict=True))
        if whose in ("own", "filler"):  # they do not depend on the problem's number
            alone = [contexts.of_problems(problem[None], asked)[0] for problem in problems[:10]]
            assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=False))
    own, filler = (contexts.of_problems(problems, Asked(dose, whose)) for whose in ("own", "filler"))
    assert [len(tokens) for tokens in own] == [len(tokens) for tokens in filler]


def test_what_trains_on_contexts_is_the_loss_of_what_follows() -> None:
    """A model's loss on packed rows is that of the tokens behind the prompts, computed stream by stream."""
    from sos.model.gpt import GPT
    from sos.system import gpt_config

    config, system, source = made()
    torch.manual_seed(3)
    model = GPT(gpt_config(config, len(system.dialect.vocab))).eval()
    chunk = source.chunk(0, 24)
    rows = pack(chunk, config.data.context, np.uint64(1))
    with torch.inference_mode():
        batch = [torch.from_numpy(array) for array in (rows.tokens, rows.positions, rows.doc_ids)]
        logits = model(*batch)
        targets = torch.from_numpy(rows.targets)
        together = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="sum"
        )
        alone = 0.0
        for start, stop, prompt in zip(chunk.offsets, chunk.offsets[1:], chunk.prompts, strict=False):
            ids = torch.from_numpy(chunk.tokens[start:stop].astype(np.int64))[None]
            logprobs = model(ids)[0, prompt - 1 : -1].log_softmax(-1)
            alone -= float(logprobs.gather(1, ids[0, prompt:, None]).sum())
    assert float(together) == pytest.approx(alone, rel=1e-4)
