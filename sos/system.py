"""From a `Config` to the objects it describes; every impossible combination is refused here, before work starts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from sos.config import Config, SearchConfig, StrategyConfig
from sos.data.splits import Splits, make_splits
from sos.envs.countdown.rules import Countdown
from sos.errors import UserError
from sos.model.shape import GPTConfig
from sos.search import Beam, BestFirst, DepthFirst, Widening, mix
from sos.stream.codec import encode_prompt
from sos.stream.dialect.compile import Dialect, load_dialect
from sos.stream.views import VIEWS, View

MAX_TRACE_NODES = 60_000


@dataclass(frozen=True)
class System:
    """Everything symbolic of one run."""

    env: Countdown
    strategy: Any  # a NamedTuple of SEARCHES, or a Mixture
    strategy_names: tuple[str, ...]
    view: View
    dialect: Dialect
    splits: Splits
    context: int
    max_nodes: int


def _single_strategy(config: StrategyConfig, env: Countdown) -> Any:
    heuristic = env.heuristics.index(config.heuristic)
    if config.name == "beam":
        return Beam(config.width, heuristic, config.visit_leaves, config.shuffle, config.max_nodes)
    if config.name == "widening":
        return Widening(
            heuristic,
            config.announce_leaves,
            config.max_nodes,
            config.look_ahead,
            config.skip_out_of_range,
            config.bound,
        )
    threshold = config.threshold == "target"
    if config.name == "best_first":
        weight = round(config.depth_weight * env.heuristic_scale)
        kept = config.skip_seen, config.max_nodes, config.look_ahead, config.skip_out_of_range
        return BestFirst(heuristic, weight, threshold, *kept)
    return DepthFirst(
        heuristic,
        threshold,
        config.skip_seen,
        config.announce_leaves,
        config.max_nodes,
        config.look_ahead,
        config.skip_out_of_range,
    )


def build_strategy(config: SearchConfig, env: Countdown) -> tuple[Any, tuple[str, ...]]:
    """Return the strategy, or the mixture, and the names of what it consists of."""
    if config.name != "mixture":
        return _single_strategy(config, env), (config.name,)
    strategies = [_single_strategy(strategy, env) for strategy in config.strategies.values()]
    return mix(strategies, [config.weight(name) for name in config.strategies]), tuple(config.strategies)


def build_env(config: Config) -> Countdown:
    """Return the environment."""
    return Countdown(
        config.env.num_numbers,
        config.env.min_number,
        config.env.max_number,
        config.env.min_target,
        config.env.max_target,
        config.env.max_value,
        config.env.descending,
    )


def build_system(config: Config) -> System:
    """Build and check the symbolic side. Raises ValueError that names the key and the value."""
    env = build_env(config)
    strategy, names = build_strategy(config.search, env)
    whole_max = 9 if config.stream.numbers == "digits" else config.stream.whole_max
    dialect = load_dialect(config.stream.dialect, env, whole_max)
    splits = make_splits(env, config.data.val_fraction, config.data.held_out_fraction)
    longest_prompt = encode_prompt(dialect, [env.max_target, env.num_numbers, *[env.max_number] * env.num_numbers])
    context = config.data.context
    if context <= len(longest_prompt):
        raise UserError(
            f"data.context={context} is too small: the problem statement alone takes {len(longest_prompt)} tokens in "
            f"dialect {dialect.name}"
        )
    # A stream spends at least a token per node, so that what does not fit the workspace could not fit the context.
    max_nodes = min(MAX_TRACE_NODES, max(4 * context, 2_000))
    view = View(VIEWS.index(config.stream.view), config.stream.dose)
    return System(env, strategy, names, view, dialect, splits, context, max_nodes)


def gpt_config(config: Config, vocab_size: int) -> GPTConfig:
    """Return the model's config for a vocabulary. Raises ValueError for an impossible shape."""
    return GPTConfig(vocab_size=vocab_size, context=config.data.context, **dataclasses.asdict(config.model))
