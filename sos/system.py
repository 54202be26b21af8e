"""From a `Config` to the objects it describes; every impossible combination is refused here, before work starts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sos.config import Config, SearchConfig, StrategyConfig
from sos.context.draws import SlotPlan
from sos.context.vocab import with_slot
from sos.data.listed import check_splits, read_problems
from sos.data.splits import NO_LIST, Splits, make_splits
from sos.envs.registry import environment_named
from sos.errors import UserError
from sos.model.shape import GPTConfig
from sos.schema.slot import SlotConfig
from sos.schema.stream import DROPPING, OBSERVED
from sos.search import mix
from sos.search.registry import MIXTURE, SEARCHES
from sos.stream.added import AddedView, added_view
from sos.stream.apart import Apart
from sos.stream.codec import encode_prompt
from sos.stream.dialect.compile import Dialect, load_dialect
from sos.stream.dropping import dropping_view
from sos.stream.marker_words import with_markers
from sos.stream.views import VIEWS, View

MAX_TRACE_NODES = 60_000
WHOLE = 4  # where finished branches are erased, a whole stream may be so many times as long as the context


@dataclass(frozen=True)
class System:
    """Everything symbolic of one run."""

    env: Any  # a NamedTuple of one of the ENVIRONMENTS
    strategy: Any  # a NamedTuple of SEARCHES, or a Mixture
    strategy_names: tuple[str, ...]
    view: View | AddedView
    dialect: Dialect
    splits: Splits
    context: int  # tokens of a whole stream at most
    max_nodes: int
    slot: SlotPlan | None = None  # the contexts of training streams, None without the slot
    marker_places: str = OBSERVED  # of markers in training streams
    erase: bool = False  # what finished branches wrote: a model sees pieces of its stream
    listed: np.ndarray = field(default_factory=lambda: NO_LIST)  # int32 (N, P): the problems of eval.problems


def build_strategy(config: StrategyConfig, env: Any) -> tuple[Any, tuple[str, ...]]:
    """Return the strategy, or the mixture, and the names of what it consists of."""
    strategies = [SEARCHES.named(member.name).build(member, env, prefix) for prefix, member in config.members().items()]
    if not isinstance(config, SearchConfig) or config.name != MIXTURE:
        return strategies[0], (config.name,)
    return mix(strategies, [config.weight(name) for name in config.strategies]), tuple(config.strategies)


def build_env(config: Config) -> Any:
    """Return the environment."""
    return environment_named(config.env.name).build(config.env)


def build_dialect(config: Config, env: Any) -> Dialect:
    """Return the dialect, with the tokens of the context slot and of the markers where there are such. Raises UserError
    for one that cannot be."""
    stream = config.stream
    whole_max = 9 if stream.numbers == "digits" else stream.whole_max
    dialect = load_dialect(stream.dialect, env, whole_max, stream.plan)
    if config.slot.on:
        dialect = with_slot(dialect, config.slot.kinds)
    return with_markers(dialect, stream, config.search) if stream.markers else dialect


def build_splits(config: Config, env: Any) -> Splits:
    """Return the rule of the splits. Raises UserError for groups to hold out that are none, and for a list of problems
    that is another one, holds a line that is no problem, or leaves a split empty."""
    data = config.data
    if data.problems is None:
        return make_splits(env, data.val_fraction, data.held_out_fraction, data.held_out)
    listed = read_problems(data.problems, env, "data.problems", data.problems_sha256)
    splits = make_splits(env, data.val_fraction, 0.0)._replace(listed=listed)
    check_splits(env, splits, f"data.problems={data.problems}", f"data.val_fraction={data.val_fraction:g}")
    return splits


def built_in_view(config: Config) -> View:
    """Return the view of a run that is one of `VIEWS`."""
    return View(VIEWS.index(config.stream.view), config.stream.dose, config.stream.plan)


def build_system(config: Config) -> System:
    """Build and check the symbolic side. Raises ValueError that names the key and the value."""
    env = build_env(config)
    strategy, names = build_strategy(config.search, env)
    dialect = build_dialect(config, env)
    slot = config.slot
    splits = build_splits(config, env)
    if config.eval.splits == ["val_target"] and not len(splits.held_out):
        raise UserError(
            f"eval.splits=[val_target]: no group of problems is held out (data.held_out_fraction="
            f"{config.data.held_out_fraction:g} of {len(splits.groups)}), so that there is nothing to evaluate"
        )
    longest_prompt = encode_prompt(dialect, env.longest_problem())
    if config.data.context <= len(longest_prompt):
        raise UserError(
            f"data.context={config.data.context} is too small: the problem statement alone takes {len(longest_prompt)} "
            f"tokens in dialect {dialect.name}"
        )
    context = config.data.context * (WHOLE if config.stream.erase else 1)
    # A stream spends at least a token per node, so that what does not fit the workspace could not fit the context.
    max_nodes = min(MAX_TRACE_NODES, max(4 * context, 2_000))
    view: View | AddedView
    if config.stream.view in VIEWS:
        view = built_in_view(config)
    elif config.stream.view in DROPPING:
        view = dropping_view(config.stream, dialect)
    elif config.stream.view == "apart":
        view = AddedView(Apart(config.stream.dose), plan=config.stream.plan)
    else:
        view = added_view(config.stream.view)._replace(plan=config.stream.plan)
    return System(
        env=env,
        strategy=strategy,
        strategy_names=names,
        view=view,
        dialect=dialect,
        splits=splits,
        context=context,
        max_nodes=max_nodes,
        slot=_slot_plan(slot) if slot.on else None,
        marker_places=config.stream.marker_places,
        erase=config.stream.erase,
        listed=NO_LIST if config.eval.problems is None else read_problems(config.eval.problems, env, "eval.problems"),
    )


def _slot_plan(slot: SlotConfig) -> SlotPlan:
    shares = (slot.dropout, slot.irrelevant, slot.misleading, slot.filler, slot.follow)
    return SlotPlan(tuple(slot.doses), *shares, tuple(slot.kinds), slot.lessons, slot.lessons_from)


def gpt_config(config: Config, vocab_size: int) -> GPTConfig:
    """Return the model's config for a vocabulary. Raises ValueError for an impossible shape."""
    return GPTConfig(vocab_size=vocab_size, context=config.data.context, **dataclasses.asdict(config.model))
