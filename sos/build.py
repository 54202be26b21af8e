"""From a `Config` to the objects it describes; every impossible combination is refused here, before work starts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from sos.config import Config
from sos.data.splits import Splits, make_splits
from sos.data.streams import StreamSource
from sos.envs.countdown import HEURISTICS, Countdown
from sos.model.gpt import GPTConfig
from sos.search.depth_first import DepthFirst
from sos.stream.dialect import Dialect, load_dialect
from sos.stream.views import VIEWS, View

MAX_TRACE_NODES = 60_000


@dataclass(frozen=True)
class System:
    """Everything symbolic of one run."""

    env: Countdown
    strategy: DepthFirst
    view: View
    dialect: Dialect
    splits: Splits
    context: int
    max_nodes: int


def build_system(config: Config) -> System:
    """Build and check the symbolic side. Raises ValueError that names the key and the value."""
    env = Countdown(
        config.env.num_numbers,
        config.env.min_number,
        config.env.max_number,
        config.env.min_target,
        config.env.max_target,
        config.env.max_value,
    )
    search = config.search
    strategy = DepthFirst(
        HEURISTICS.index(search.heuristic),
        search.threshold == "target",
        search.skip_seen,
        search.announce_leaves,
        search.max_nodes,
    )
    whole_max = 9 if config.stream.numbers == "digits" else config.stream.whole_max
    dialect = load_dialect(config.stream.dialect, env, whole_max)
    splits = make_splits(env, config.data.val_fraction, config.data.held_out_fraction)
    longest_prompt = dialect.prompt_ids([env.max_target, env.num_numbers, *[env.max_number] * env.num_numbers])
    context = config.data.context
    if context <= len(longest_prompt):
        raise ValueError(
            f"data.context={context} is too small: the problem statement alone takes {len(longest_prompt)} tokens in "
            f"dialect {dialect.name}"
        )
    # A stream spends at least a token per node, so that what does not fit the workspace could not fit the context.
    max_nodes = min(MAX_TRACE_NODES, max(4 * context, 2_000))
    view = View(VIEWS.index(config.stream.view), config.stream.dose)
    return System(env, strategy, view, dialect, splits, context, max_nodes)


def build_source(config: Config, system: System, split: str = "train") -> StreamSource:
    """Return the training streams of a run."""
    return StreamSource(
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
    )


def gpt_config(config: Config, vocab_size: int) -> GPTConfig:
    """Return the model's config for a vocabulary. Raises ValueError for an impossible shape."""
    return GPTConfig(vocab_size=vocab_size, context=config.data.context, **dataclasses.asdict(config.model))
