"""The typed configuration: one dataclass per config group, range checks that name the key, and the Hydra registration.

The entry point turns Hydra's composed config into a `Config` once (`config_from_dict`); nothing below sees a DictConfig.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from sos.errors import UserError


def _at_least(group: Any, prefix: str, low: float, *keys: str) -> None:
    for key in keys:
        value = getattr(group, key)
        if value is not None and not value >= low:
            raise UserError(f"{prefix}.{key} must be at least {low}, got {value}")


def _fraction(group: Any, prefix: str, *keys: str) -> None:
    for key in keys:
        value = getattr(group, key)
        if not 0 <= value <= 1:
            raise UserError(f"{prefix}.{key} must be from 0 to 1, got {value}")


def _one_of(group: Any, prefix: str, key: str, choices: tuple[str, ...]) -> None:
    value = getattr(group, key)
    if value not in choices:
        raise UserError(f"{prefix}.{key} must be one of {', '.join(choices)}, got {value!r}")


@dataclass
class EnvConfig:
    """Countdown's ranges, all bounds inclusive; `max_value` bounds every result."""

    name: str = "countdown"
    num_numbers: int = 3
    min_number: int = 1
    max_number: int = 20
    min_target: int = 10
    max_target: int = 100
    max_value: int = 120
    descending: bool = False  # list numbers in descending order, in problems and in states

    def __post_init__(self) -> None:
        _one_of(self, "env", "name", ("countdown",))
        if not 2 <= self.num_numbers <= 6:
            raise UserError(f"env.num_numbers must be from 2 to 6, got {self.num_numbers}")
        _at_least(self, "env", 1, "min_number")
        _at_least(self, "env", 2, "min_target")
        for low, high in (
            ("min_number", "max_number"),
            ("min_target", "max_target"),
            ("max_target", "max_value"),
            ("max_number", "max_value"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise UserError(f"env.{low}={getattr(self, low)} must not be above env.{high}={getattr(self, high)}")
        if self.max_value > 2**31 - 1:
            raise UserError(f"env.max_value must fit into int32 (at most {2**31 - 1}), got {self.max_value}")
        if self.max_target > 1_000_000:
            raise UserError(f"env.max_target must be at most 1000000, got {self.max_target}")


MEMBERS = ("dfs", "beam", "best_first")  # of a mixture, which compiles them all, whichever it draws
STRATEGIES = (*MEMBERS, "widening")


@dataclass
class StrategyConfig:
    """One search strategy; `SearchConfig` checks it. Keys that its `name` has no use for are left alone."""

    name: str = "dfs"
    heuristic: str = "sum"
    threshold: str = "none"  # dfs, best_first: "target" drops children whose heuristic is above the target
    skip_seen: bool = True  # dfs, best_first: no state twice
    announce_leaves: bool = False  # dfs, widening: write the return from every dead end
    width: int = 5  # beam
    visit_leaves: bool = False  # beam: dead ends stay on the frontier, as the published code has it
    shuffle: bool = False  # beam: children in random order
    depth_weight: float = 0.0  # best_first: what a depth adds to the heuristic
    look_ahead: int = 0  # all but beam: 1 writes no dead ends, 2 no nodes whose children are all dead ends
    skip_out_of_range: bool = False  # all but beam: no dead ends outside env.min_target to env.max_target
    bound: int = 300  # widening: the largest result of the first pass
    max_nodes: int = 2000  # budget of expanded nodes

    def check(self, prefix: str) -> None:
        """Raise ValueError for an impossible value, its key behind `prefix`."""
        _one_of(self, prefix, "name", STRATEGIES)
        _one_of(self, prefix, "heuristic", ("none", "sum", "mult", "size", "operator"))
        _one_of(self, prefix, "threshold", ("none", "target"))
        if self.threshold != "none" and self.name in ("beam", "widening"):
            raise UserError(f"{prefix}.threshold={self.threshold} has no meaning for {prefix}.name={self.name}")
        if self.threshold != "none" and self.heuristic not in ("sum", "mult"):
            raise UserError(
                f"{prefix}.threshold={self.threshold} needs {prefix}.heuristic=sum or mult, got {self.heuristic}"
            )
        if self.heuristic == "operator" and self.name in ("beam", "best_first"):
            raise UserError(
                f"{prefix}.heuristic=operator orders the children of a node, {prefix}.name={self.name} compares all nodes"
            )
        if self.look_ahead not in (0, 1, 2):
            raise UserError(f"{prefix}.look_ahead must be 0, 1 or 2, got {self.look_ahead}")
        _at_least(self, prefix, 1, "max_nodes", "width")


@dataclass
class SearchConfig(StrategyConfig):
    """The strategy that makes the training traces, or a mixture: `name=mixture`, named `strategies` and their `weights`.

    Each problem is searched with one of the strategies, drawn by weight; a strategy that `weights` does not name weighs 1.
    """

    strategies: dict[str, StrategyConfig] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _one_of(self, "search", "name", (*STRATEGIES, "mixture"))
        if self.name != "mixture":
            self.check("search")
            if self.strategies or self.weights:
                raise UserError(
                    f"search.{'strategies' if self.strategies else 'weights'} needs search.name=mixture, got {self.name!r}"
                )
            return
        if not self.strategies:
            raise UserError("search.strategies must name at least one strategy for search.name=mixture")
        for name, strategy in self.strategies.items():
            _one_of(strategy, f"search.strategies.{name}", "name", MEMBERS)
            strategy.check(f"search.strategies.{name}")
        for name, weight in self.weights.items():
            if name not in self.strategies:
                known = ", ".join(self.strategies)
                raise UserError(f"search.weights.{name}: no such strategy; search.strategies has {known}")
            if not 0 <= weight < float("inf"):
                raise UserError(f"search.weights.{name} must be a number from 0 up, got {weight}")
        if not any(self.weight(name) for name in self.strategies):
            raise UserError("search.weights sum to 0: no strategy is left to draw")

    def weight(self, name: str) -> float:
        """Return the weight of a strategy of the mixture."""
        return self.weights.get(name, 1.0)


@dataclass
class StreamConfig:
    """How a trace becomes tokens."""

    view: str = "full"
    dose: float = 0.5  # of view=dose: the probability that a dead branch stays
    dialect: str = "compact"
    numbers: str = "whole"  # or "digits"
    whole_max: int = 120  # of numbers=whole: larger numbers are written in digits

    def __post_init__(self) -> None:
        _one_of(self, "stream", "view", ("full", "solution_path", "dose", "no_backtrack", "redundant"))
        _one_of(self, "stream", "numbers", ("whole", "digits"))
        _fraction(self, "stream", "dose")
        if not 9 <= self.whole_max <= 30_000:
            raise UserError(f"stream.whole_max must be from 9 to 30000, got {self.whole_max}")


@dataclass
class DataConfig:
    """Which problems, how many, and how rows are packed."""

    context: int = 256
    match: str = "tokens"  # train until `train_tokens` or `train_problems` is reached
    train_tokens: int = 3_000_000
    train_problems: int = 40_000  # problem visits, epochs counted
    num_problems: int = 0  # size of a fixed data set; 0: endless, every visit a new problem
    val_fraction: float = 0.1
    held_out_fraction: float = 0.12
    prompt_loss: bool = False
    length_warmup: float = 0.0  # the share of the budget over which the longest stream grows to the context; 0: none
    length_start: float = 0.25  # its length at the start, as a share of the context
    block: int = 2048  # visits that are packed together
    shards: str | None = (
        None  # a folder of token shards (sos.commands.generate); null: streams are made on the fly, the same ones
    )

    def __post_init__(self) -> None:
        _at_least(self, "data", 16, "context")
        _one_of(self, "data", "match", ("tokens", "problems"))
        _at_least(self, "data", 1, "train_tokens", "train_problems", "block")
        _at_least(self, "data", 0, "num_problems")
        _fraction(self, "data", "val_fraction", "held_out_fraction", "length_warmup", "length_start")
        if self.val_fraction in (0.0, 1.0):
            raise UserError(f"data.val_fraction must leave problems on both sides, got {self.val_fraction}")


@dataclass
class ModelConfig:
    """The GPT's shape; see `sos.model.shape.GPTConfig`, which checks it."""

    num_layers: int = 3
    num_heads: int = 3
    num_kv_heads: int = 0  # 0: num_heads
    width: int = 96
    mlp_ratio: float = 4.0
    rope_theta: float = 10000.0
    dropout: float = 0.0
    tie_embeddings: bool = True
    qk_norm: bool = True
    kernels: str = "auto"  # or "torch" (its modules), or "cpu" (kernels for float32 on a CPU)


@dataclass
class OptimConfig:
    """AdamW or Muon with a linear warm-up and a decaying rate, both over the share of the training budget that is used."""

    name: str = "muon"  # for the matrices inside the blocks, AdamW for the rest; or adamw for all
    lr: float = 0.01
    schedule: str = "linear"
    warmup: float = 0.03
    final_lr: float = 0.0  # as a share of lr
    beta1: float = 0.9
    beta2: float = 0.98
    momentum: float = 0.95  # Muon's
    weight_decay: float = 0.1
    grad_clip: float = 1.0

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise UserError(f"optim.lr must be positive, got {self.lr}")
        _one_of(self, "optim", "name", ("adamw", "muon"))
        _one_of(self, "optim", "schedule", ("linear", "cosine", "constant"))
        _fraction(self, "optim", "warmup", "final_lr", "beta1", "beta2", "momentum")
        _at_least(self, "optim", 0, "weight_decay", "grad_clip")


# As Lightning names them; float16 would need its losses scaled.
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true", "64-true")


@dataclass
class TrainerConfig:
    """Where and how Lightning runs."""

    accelerator: str = "cpu"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"  # any of PRECISIONS
    compile: bool = False
    batch_tokens: int = 2048  # positions in one optimizer step, over all ranks
    num_threads: int = 0  # 0: torch's choice
    log_every: int = 20  # steps
    probe_every: float = 0.25  # share of the budget between two looks at the solve rate; 0: none
    probe_problems: int = 128
    checkpoint_every: int = 200  # steps

    def __post_init__(self) -> None:
        _one_of(self, "trainer", "accelerator", ("cpu", "gpu", "auto"))
        _one_of(self, "trainer", "strategy", ("auto", "ddp", "fsdp"))
        _one_of(self, "trainer", "precision", PRECISIONS)
        _at_least(
            self,
            "trainer",
            1,
            "devices",
            "num_nodes",
            "batch_tokens",
            "log_every",
            "probe_problems",
            "checkpoint_every",
        )
        _at_least(self, "trainer", 0, "num_threads")
        _fraction(self, "trainer", "probe_every")


EVAL_SPLITS = ("val", "val_target", "difficult", "unsolved")
WHOLE_SEARCH_SPLITS = ("difficult", "unsolved")
MOST_NUMBERS_SEARCHED = 5  # of 6, a search can have 3.5 million nodes


@dataclass
class EvalConfig:
    """The final evaluation. The headline is greedy; `temperature` is that of the pass@k samples."""

    splits: list[str] = field(default_factory=lambda: ["val", "val_target"])  # any of EVAL_SPLITS
    legacy: bool = False  # the published metric beside ours
    num_problems: int = 1000
    batch_size: int = 256
    max_tokens: int | None = None  # generated tokens per problem; null: what the context leaves
    temperature: float = 1.0
    pass_k: list[int] = field(default_factory=lambda: [1, 4, 16])
    pass_k_problems: int = 100
    num_rollout_texts: int = 8
    curve_points: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        _at_least(self, "eval", 1, "num_problems", "batch_size", "max_tokens", "pass_k_problems", "curve_points")
        _at_least(self, "eval", 0, "num_rollout_texts")
        if not self.temperature > 0:
            raise UserError(f"eval.temperature must be positive, got {self.temperature}")
        if not self.splits or len(set(self.splits)) < len(self.splits) or not set(self.splits) <= set(EVAL_SPLITS):
            raise UserError(
                f"eval.splits must name some of {', '.join(EVAL_SPLITS)}, each once, got {list(self.splits)}"
            )
        if any(k < 1 for k in self.pass_k):
            raise UserError(f"eval.pass_k must hold numbers from 1 up, got {list(self.pass_k)}")


@dataclass
class Config:
    """One run."""

    seed: int = 1
    resume: str | None = None  # a run folder or a checkpoint to continue
    env: EnvConfig = field(default_factory=EnvConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    stream: StreamConfig = field(default_factory=StreamConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        whole = [split for split in self.eval.splits if split in WHOLE_SEARCH_SPLITS]
        if whole and self.env.num_numbers > MOST_NUMBERS_SEARCHED:
            raise UserError(
                f"eval.splits: {whole[0]} needs whole searches, for which env.num_numbers={self.env.num_numbers} is too many "
                f"(at most {MOST_NUMBERS_SEARCHED})"
            )
        if self.search.name == "widening" and self.search.bound < self.env.max_target:
            raise UserError(
                f"search.bound={self.search.bound} must not be below env.max_target={self.env.max_target} for search.name=widening"
            )


@dataclass
class ArmSweeperConf:
    """`hydra.sweeper`, which a file in conf/sweep fills."""

    _target_: str = "hydra_plugins.sos.ArmSweeper"  # as `sos.runs.sweeper` is known to Hydra
    name: str | None = None  # of the sweep, and of its folder
    question: str = ""
    primary: str = "solve/val"  # the metric that answers the question
    baseline: str | None = None  # the arm that the others are compared with; null: the first
    arms: dict[str, list[str]] = field(default_factory=dict)  # name: overrides
    seeds: list[int] = field(default_factory=list)
    arm: str | None = None  # set in each job: the arm that it belongs to
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


GROUPS = {
    "env": EnvConfig,
    "search": SearchConfig,
    "stream": StreamConfig,
    "data": DataConfig,
    "model": ModelConfig,
    "optim": OptimConfig,
    "trainer": TrainerConfig,
    "eval": EvalConfig,
}


def register() -> None:
    """Put the schemas into Hydra's ConfigStore: `schema`, on which `conf/config.yaml` builds, and that of the sweeper."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="schema", node=Config)
    ConfigStore.instance().store(group="hydra/sweeper", name="arms", node=ArmSweeperConf, provider="sos")


def to_object(composed: Any) -> Config:
    """Turn Hydra's composed config into a `Config`. Raises ValueError in one line for a missing or impossible value."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        cause = error.__cause__ or error
        raise UserError(str(cause).splitlines()[0]) from error
    assert isinstance(config, Config)
    return config


def config_from_dict(values: dict[str, Any]) -> Config:
    """Build a `Config` from a plain nested dict, checked against the schema: an unknown key or a wrong type is a ValueError."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        merged = OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.create(values))
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        raise UserError(f"{f'{key}: ' if key else ''}{str(error).splitlines()[0]}") from error
    return to_object(merged)


def to_dict(config: Config) -> dict[str, Any]:
    """Return the config as plain nested containers."""
    return dataclasses.asdict(config)


def config_hash(config: Config) -> str:
    """Return 16 hex digits over everything that decides a run's result; `resume` and `data.shards` do not."""
    values = to_dict(config)
    del values["resume"]
    del values["data"]["shards"]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
