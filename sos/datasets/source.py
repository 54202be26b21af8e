"""Where training streams and traces come from: made as they are asked for, or read from shards; and what decides
them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from sos.config import Config, DataConfig, StreamConfig, config_from_dict, to_dict
from sos.data.contexts import ContextSource
from sos.data.lessons import LessonSource
from sos.data.outcomes import OutcomeSource
from sos.data.pieces import PieceSource
from sos.data.streams import StreamSource, Writer
from sos.data.traces import Order, TraceSource
from sos.datasets.read import EndOfShards, ShardSource
from sos.rng import stream_key
from sos.schema.keys import without_later
from sos.schema.slot import FROM_OTHERS, OUTCOME, SlotConfig
from sos.schema.stream import BUILT_IN_VIEWS
from sos.search.guided import Steered
from sos.stream.added import AddedView, added_view
from sos.stream.dialect.compile import Dialect
from sos.stream.views import SOLUTION_PATH, View
from sos.system import MAX_TRACE_NODES, System, build_env, build_splits, build_strategy


def build_source(config: Config, system: System, split: str = "train") -> StreamSource | ShardSource | PieceSource:
    """Return the training streams of a run: made as they are asked for, or read from `data.shards`, the same streams;
    their pieces where finished branches are erased.

    Raises ValueError for shards of another configuration, incomplete ones, and too few of them for the training budget.
    """
    if config.data.shards is not None:
        read = ShardSource(
            config.data.shards,
            recipe(config, "tokens", split, system.dialect),
            config.seed,
            system.context,
            len(system.dialect.vocab),
        )
        _check_budget(read, config)
        return read
    source = StreamSource(
        system.env,
        system.strategy,
        system.view,
        system.dialect,
        system.splits,
        system.context,
        config.seed,
        split=split,
        num_problems=config.data.num_problems,
        max_nodes=system.max_nodes,
        strategy_names=system.strategy_names,
        contexts=context_source(system, config.seed, split, config.data.num_problems),
        marker_places=system.marker_places,
    )
    return PieceSource(source, system.env, system.dialect, config.data.context) if config.stream.erase else source


def context_source(
    system: System, seed: int, stream: str, num_problems: int = 0
) -> ContextSource | LessonSource | OutcomeSource | None:
    """Return what writes the contexts of the streams of a name, None for a base without the slot. `num_problems` is
    that of a fixed data set."""
    if system.slot is None:
        return None
    if OUTCOME in system.slot.kinds:
        order = Order(num_problems, stream_key(seed, "order"))
        writer = _writer(system, system.view, seed, order)
        return OutcomeSource(system.dialect, seed=seed, stream=stream, plan=system.slot, writer=writer)
    if set(system.slot.kinds) & set(FROM_OTHERS):
        return lesson_source(system, seed, stream)
    return ContextSource(
        system.env,
        system.strategy,
        system.dialect,
        system.splits,
        max_nodes=system.max_nodes,
        seed=seed,
        stream=stream,
        plan=system.slot,
        followed=_writer(system, View(SOLUTION_PATH, 1.0, system.view.plan), seed, Order(0, np.uint64(0))),
    )


def _writer(system: System, view: View | AddedView, seed: int, order: Order) -> Writer:
    return Writer(
        system.env,
        view,
        system.dialect,
        context=system.context,
        max_nodes=system.max_nodes,
        seed=seed,
        order=order,
        marker_places=system.marker_places,
    )


def lesson_source(system: System, seed: int, stream: str) -> LessonSource:
    """Return what writes lessons, demonstrations and transcripts before the streams of a name."""
    order = Order(0, np.uint64(0))
    return LessonSource(
        system.env,
        system.strategy,
        system.dialect,
        system.splits,
        max_nodes=system.max_nodes,
        seed=seed,
        stream=stream,
        plan=system.slot,
        writer=Writer(
            system.env,
            system.view,
            system.dialect,
            context=system.context,
            max_nodes=system.max_nodes,
            seed=seed,
            order=order,
        ),
    )


def _check_budget(source: ShardSource, config: Config) -> None:
    """Raise UserError where the shards end before the budget is used; where it is close, by packing them as training
    will."""
    from sos.data.loader import Budget, LengthWarmup, PackedLoader

    data = config.data
    budget = Budget(data.match, data.budget)
    warmup = LengthWarmup(data.length_warmup, data.length_start)
    rows = max(1, config.trainer.batch_tokens // source.context)
    if source.check_budget(budget, data.block, rows * source.context, warmup):
        return
    reached = 0
    loader = PackedLoader(
        source, budget, rows_per_batch=rows, block=data.block, prompt_loss=data.prompt_loss, warmup=warmup
    )
    try:
        for batch in loader:
            reached = batch["cursor"]["tokens"]
    except EndOfShards as error:
        raise source.too_few(budget, data.block, reached) from error


def build_trace_source(config: Config, split: str = "train") -> TraceSource:
    """Return the searches of a run, whatever view and dialect would make of them."""
    env = build_env(config)
    return TraceSource(
        env,
        build_strategy(config.search, env)[0],
        build_splits(config, env),
        config.seed,
        split=split,
        num_problems=config.data.num_problems,
        max_nodes=MAX_TRACE_NODES,
    )


def dialect_hash(dialect: Dialect) -> str:
    """Return 16 hex digits over the dialect's vocabulary, its forms and what their fields stand for: what tokens mean.

    It does not depend on what a dialect is compiled to.
    """
    program, env = dialect.program, dialect.env
    separators = {name: getattr(program, name).tolist() for name in program._fields if name.endswith("separator")}
    used = {
        name: fields for name, fields in env.fields.items() if any(f"{{{name}}}" in f for f in dialect.forms.values())
    }
    content = [dialect.vocab.to_json(), dialect.forms, separators, used, program.runs]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def recipe(config: Config, kind: str, split: str, dialect: Dialect | None = None) -> dict[str, Any]:
    """Return what decides the content of a data set of `kind` "traces" or "tokens", as plain nested containers.

    The numbers of views and heuristics of packages are no keys of the config; they stand in `parts`.
    """
    values = to_dict(config)
    data = (
        *("num_problems", "val_fraction", "held_out_fraction", "held_out", "problems_sha256"),
        *(("context",) if kind == "tokens" else ()),
    )
    result = {
        "kind": kind,
        "split": split,
        "seed": config.seed,
        "env": without_later(type(config.env), values["env"]),
        "search": values["search"],
        "data": without_later(DataConfig, {key: values["data"][key] for key in data}),
    }
    if kind == "tokens":
        assert dialect is not None
        stream = without_later(StreamConfig, values["stream"]) | {
            "dialect": dialect.name,
            "dialect_hash": dialect_hash(dialect),
        }
        if stream["view"] not in ("dose", "apart"):
            del stream["dose"]
        result["stream"] = stream
        if config.slot.on:
            result["slot"] = without_later(SlotConfig, values["slot"])
    parts = _numbers_of_parts(config, kind)
    measure = dialect.markers.measure if dialect is not None and dialect.markers is not None else None
    if measure is not None and isinstance(measure.scored, Steered):
        parts["stream.marker_heuristic"] = _plain(measure.scored.heuristic._asdict())
    return result | ({"parts": parts} if parts else {})


def _numbers_of_parts(config: Config, kind: str) -> dict[str, dict[str, Any]]:
    """Return the numbers of the view and the heuristics that packages add, by the key that names one of them."""
    env = build_env(config)
    found = {f"{at}.heuristic": member.heuristic_kind(env, at) for at, member in config.search.members().items()}
    parts = {key: heuristic() for key, heuristic in found.items() if heuristic is not None}
    if kind == "tokens" and config.stream.view not in BUILT_IN_VIEWS:
        parts["stream.view"] = added_view(config.stream.view).shown
    return {key: _plain(part._asdict()) for key, part in parts.items()}


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return values as they will come back from a file; numpy's are numbers and lists there."""
    plain: dict[str, Any] = json.loads(json.dumps(values, default=lambda value: value.tolist()))
    return plain


def config_of(manifest: dict[str, Any]) -> Config:
    """Return the config that a manifest's recipe was made of. Raises UserError for one of another schema."""
    made = manifest["recipe"]
    groups = {key: made[key] for key in ("seed", "env", "search", "data")}
    stream = {key: value for key, value in made.get("stream", {}).items() if key != "dialect_hash"}
    more = {"stream": stream, "slot": made.get("slot")}
    return config_from_dict(groups | {key: values for key, values in more.items() if values})
