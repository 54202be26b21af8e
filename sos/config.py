"""The typed configuration of a run: one schema per config group, composed here; its defaults are the only ones.

The entry point turns Hydra's composed config into a `Config` once (`to_object`); nothing below sees a DictConfig.
What a file holds, such as a checkpoint, becomes one with `config_from_dict`, whose values are plain: nothing in them
is resolved.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sos.envs.config import EnvConfig
from sos.envs.registry import DEFAULT, ENVIRONMENTS, UNNAMED, environment_named
from sos.errors import UserError
from sos.schema.callbacks import CallbacksConfig
from sos.schema.data import DataConfig, checksum
from sos.schema.improve import ImproveConfig
from sos.schema.improve_words import NO_SHAPE
from sos.schema.keys import (
    INT64,
    check_keys,
    chosen,
    default_of,
    describe_keys,
    hints,
    key,
    nearest,
    nested,
    refuse_unused,
    without_later,
)
from sos.schema.logger import LoggerConfig
from sos.schema.slot import SlotConfig, check_contexts, is_default
from sos.schema.start import find_checkpoint
from sos.schema.stream import StreamConfig
from sos.schema.trainer import PRECISIONS, TrainerConfig
from sos.search.config import BuiltInConfig, SearchConfig, member_schema, search_schema
from sos.search.keys import StrategyConfig

__all__ = [
    "PRECISIONS",
    "BuiltInConfig",
    "DataConfig",
    "ImproveConfig",
    "SearchConfig",
    "StrategyConfig",
    "StreamConfig",
    "TrainerConfig",
]

DEFAULT_SEARCH = SearchConfig().name


@dataclass
class ModelConfig:
    """The GPT's shape; see `sos.model.shape.GPTConfig`, which checks how its keys fit together."""

    num_layers: int = key(6, "The blocks.", low=1, high=1024)
    num_heads: int = key(4, "The attention heads of a block.", low=1, high=1024)
    num_kv_heads: int = key(0, "The heads that have their own keys and values; 0 means all.", low=0, high=1024)
    width: int = key(64, "The width of the residual stream.", low=1, high=65_536)
    mlp_ratio: float = key(4.0, "The hidden width of the MLP, in widths.", above=0, high=256)
    rope_theta: float = key(10000.0, "The base of the rotary positions.", above=0, high=1e12)
    dropout: float = key(0.0, "The share of activations that a training step drops.", low=0, below=1)
    tie_embeddings: bool = key(True, "Input and output share their embedding.")
    embed_std: float = key(0.02, "The spread of the embedding's first weights.", above=0, high=10)
    qk_norm: bool = key(True, "Queries and keys are normed per head.")
    kernels: str = key(
        "auto",
        "What computes the model: PyTorch, or the kernels for float32 on a CPU.",
        choices=("auto", "torch", "cpu"),
    )

    def __post_init__(self) -> None:
        check_keys(self, "model")


@dataclass
class OptimConfig:
    """AdamW or Muon with a linear warm-up and a decaying rate, over the share of the budget that is used."""

    name: str = key(
        "muon",
        "Muon for the matrices of the blocks and AdamW for the rest, or adamw for all.",
        choices=("adamw", "muon"),
    )
    lr: float = key(0.007, "The highest learning rate.", above=0, high=1e6)
    schedule: str = key("linear", "How the rate decays.", choices=("linear", "cosine", "constant"))
    warmup: float = key(0.03, "The share of the budget over which the rate rises.", low=0, high=1)
    final_lr: float = key(
        0.0, "The last rate, as a share of lr.", low=0, high=1, only={"schedule": ("linear", "cosine")}
    )
    beta1: float = key(0.9, "AdamW's memory of the gradient.", low=0, below=1)
    beta2: float = key(0.98, "AdamW's memory of its square.", low=0, below=1)
    momentum: float = key(0.95, "Muon's memory of the gradient.", low=0, below=1, only={"name": ("muon",)})
    weight_decay: float = key(0.1, "The decay of the weights, as a share of the rate.", low=0, high=1e6)
    grad_clip: float = key(1.0, "The largest norm of the gradient; 0 clips none.", low=0, high=1e6)

    def __post_init__(self) -> None:
        check_keys(self, "optim")
        refuse_unused(self, "optim")


EVAL_SPLITS = ("val", "val_target", "difficult", "unsolved", "listed")
WHOLE_SEARCH_SPLITS = ("difficult", "unsolved")


@dataclass
class EvalConfig:
    """The final evaluation. The headline is greedy; `temperature` is that of the pass@k samples."""

    splits: list[str] = key(["val", "val_target"], f"The splits to solve: any of {', '.join(EVAL_SPLITS)}.")
    problems: str | None = key(
        None, "A file of problems, as of data.problems, which are the split listed.", path=True, later=True
    )
    legacy: bool = key(False, "The published metric is measured, too.")
    num_problems: int = key(1000, "The problems of a split.", low=1, high=10_000_000)
    batch_size: int = key(256, "The rollouts that are decoded together.", low=1, high=65_536)
    max_tokens: int | None = key(
        None, "The tokens that may be generated for a problem; null takes what the context leaves.", low=1, high=10**9
    )
    max_seconds: float | None = key(
        None,
        "The seconds after which no further problem is begun, shared out over splits and samples; null is no limit.",
        above=0,
        high=1e9,
    )
    context: list[str] = key(
        ["none"],
        "What stands before the problems, an evaluation each: none, a dose such as plan, a control such as wrong_plan.",
        later=True,
    )
    temperature: float = key(
        1.0, "The temperature of the samples of pass_k.", above=0, low=0.001, high=1000, only={"pass_k": None}
    )
    pass_k: list[int] = key([1, 4, 16], "The numbers of samples of which one must solve.", low=1, high=10_000)
    pass_k_problems: int = key(100, "The problems that are sampled so.", low=1, high=10_000_000, only={"pass_k": None})
    first_action: bool = key(False, "The entropy of a first action is measured.", only={"pass_k": None}, later=True)
    num_rollout_texts: int = key(8, "The rollouts that are kept as text.", low=0, high=1_000_000)
    curve_points: int = key(24, "The points of the budget curve.", low=1, high=10_000)
    seed: int = key(0, "The seed of the evaluation problems and samples.", low=0, high=INT64)

    def __post_init__(self) -> None:
        check_keys(self, "eval")
        if not self.splits or len(set(self.splits)) < len(self.splits) or not set(self.splits) <= set(EVAL_SPLITS):
            known = ", ".join(EVAL_SPLITS)
            raise UserError(f"eval.splits must name some of {known}, each once, got {list(self.splits)}")
        check_contexts(self.context)
        if self.problems is None and "listed" in self.splits:
            raise UserError("eval.splits: listed needs a file of problems, eval.problems=FILE")
        if self.problems is not None and "listed" not in self.splits:
            raise UserError(f"eval.problems={self.problems} has no use without listed among eval.splits")
        most = max(self.pass_k, default=0)
        if self.max_seconds is not None and self.batch_size < most:
            raise UserError(
                f"eval.batch_size={self.batch_size} must be {most} with eval.max_seconds: the samples of a problem of "
                "eval.pass_k begin together"
            )


@dataclass
class Config:
    """One run."""

    seed: int = key(1, "The seed of problems, weights and order.", low=0, high=INT64)
    resume: str | None = key(None, "A run folder or a checkpoint to continue.", path=True)
    start: str | None = key(
        None, "A run folder or a checkpoint whose weights, and their shape, the run begins with.", path=True, later=True
    )
    start_sha256: str | None = key(
        None, "The checksum of this checkpoint; null takes it as it is.", only={"start": None}, later=True
    )
    env: EnvConfig = chosen(ENVIRONMENTS[DEFAULT].schema, descending=True)
    search: StrategyConfig = chosen(SearchConfig, heuristic="operator", skip_out_of_range=True)
    stream: StreamConfig = field(default_factory=lambda: StreamConfig(dialect="checked_dense", numbers="digits"))
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    improve: ImproveConfig = field(default_factory=ImproveConfig)
    slot: SlotConfig = field(default_factory=SlotConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)

    def __post_init__(self) -> None:
        check_keys(self, "")
        self.search.check("search")
        self.env.check_run(self)
        self.callbacks.check_run(self)
        self.slot.check_run(self)
        self.stream.check_run(self)
        if self.start is not None and self.start_sha256 is None:
            self.start_sha256 = checksum(str(find_checkpoint(self.start, "start")), "start")
        if self.start is None and self.start_sha256 is not None:
            raise UserError(f"start_sha256={self.start_sha256} needs start, which is null")
        if self.start is None and self.improve.on:
            raise UserError(f"improve.loss={self.improve.loss} needs start=RUN: a model that solves something already")

    @property
    def timed(self) -> list[str]:
        """The settings that make a result depend on how fast the machine is."""
        seconds = [f"eval.max_seconds={self.eval.max_seconds:g}"] if self.eval.max_seconds is not None else []
        return (["data.match=seconds"] if self.data.match == "seconds" else []) + seconds

    @property
    def whole_search_splits(self) -> list[str]:
        """The splits of the final evaluation that are found by whole searches."""
        return [split for split in self.eval.splits if split in WHOLE_SEARCH_SPLITS]


# Group -> the schema that a value of its `name` chooses.
CHOSEN: dict[str, Callable[[Any], type]] = {"env": lambda name: environment_named(name).schema, "search": search_schema}
GROUPS = {
    "env": EnvConfig,
    "search": SearchConfig,
    "stream": StreamConfig,
    "data": DataConfig,
    "model": ModelConfig,
    "optim": OptimConfig,
    "trainer": TrainerConfig,
    "eval": EvalConfig,
    "improve": ImproveConfig,
    "slot": SlotConfig,
    "logger": LoggerConfig,
    "callbacks": CallbacksConfig,
}
# What decides how a model's weights look, for which `start` stands where there is one.
SHAPE = tuple(f.name for f in dataclasses.fields(ModelConfig) if f.name not in NO_SHAPE)


def config_from_dict(values: dict[str, Any]) -> Config:
    """Build a `Config` from a plain nested dict, as a file holds it: an unknown key or a wrong type is a UserError.

    A key that is missing keeps its default. Nothing is resolved: `${...}` in a file is text like any other.
    """
    env = values.get("env")
    if isinstance(env, dict) and env.get("name", DEFAULT) != DEFAULT:
        values = {"search": {}, "stream": {}} | values  # the default run's are those of its own task
    return from_plain(Config, values)


def chosen_schemas(values: Any) -> dict[str, type]:
    """Return the schemas of the environment and the search that a plain `Config` names, by their group; none where it
    names none."""
    groups = {name: values.get(name) for name in CHOSEN} if isinstance(values, dict) else {}
    return {
        name: CHOSEN[name](group["name"])
        for name, group in groups.items()
        if isinstance(group, dict) and "name" in group
    }


def from_plain(schema: type, values: Any, prefix: str = "") -> Any:
    """Build an object of a schema from plain nested containers. Raises UserError with the key behind `prefix`."""
    if not isinstance(values, dict):
        raise UserError(f"{prefix.rstrip('.') or 'the config'} must hold keys, got {values!r}")
    groups = chosen_schemas(values) if issubclass(schema, Config) else {}
    if schema is StrategyConfig:
        schema = member_schema(values.get("name", DEFAULT_SEARCH), prefix.rstrip("."))
    known = hints(schema) | groups
    unknown = next((name for name in values if name not in known), None)
    if unknown is not None:
        names = [found.name for found in describe_keys(schema, prefix, groups)]
        raise UserError(f"{prefix}{unknown} is no key of the config{nearest(f'{prefix}{unknown}', names)}")
    return schema(**{name: _plain(known[name], value, prefix + name) for name, value in values.items()})


def _plain(hint: Any, value: Any, name: str) -> Any:
    inner = nested(hint)
    if inner is not None and hint is inner:
        return from_plain(inner, value, f"{name}.")
    if isinstance(value, dict):
        of_value = (*typing.get_args(hint), Any)[1] if typing.get_args(hint) else Any
        return {key: _plain(of_value, item, f"{name}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= INT64:
        return float(value)
    return list(value) if isinstance(value, tuple) else value


# What a record means that was written before there was a `name`, by the schema that the name chooses.
_FIRST_NAMES: dict[type, str] = {EnvConfig: UNNAMED, StrategyConfig: DEFAULT_SEARCH}


def with_later_keys(stored: Any, current: Any, schema: type = Config) -> Any:
    """Return a plain record from a file with the keys that came after it was written, each with its default: those
    that the schema and `current`, the record as it would be written today, have and the file lacks.

    The default is that of the day on which a key came. One that changes later has to be kept for this, as the first
    names of environment and search are.
    """
    if not isinstance(stored, dict) or not isinstance(current, dict):
        return stored
    if schema is StrategyConfig and isinstance(current.get("name"), str):
        schema = member_schema(current["name"], "search.strategies")
    first = next((name for base, name in _FIRST_NAMES.items() if issubclass(schema, base)), None)
    if first is not None and stored.get("name", first) != current.get("name"):
        return stored  # it has the keys of another schema
    known = hints(schema) | (chosen_schemas(current) if schema is Config else {})
    result = dict(stored)
    for declared in dataclasses.fields(schema):
        name, inner = declared.name, nested(known[declared.name])
        if name not in current:
            continue
        if inner is not None and inner is known[name]:
            result[name] = with_later_keys(stored.get(name, {}), current[name], inner)
        elif name not in stored:
            result[name] = default_of(declared) if first is None or name != "name" else first
        elif inner is not None and isinstance(stored[name], dict) and isinstance(current[name], dict):
            members = stored[name].items()
            result[name] = {key: with_later_keys(values, current[name].get(key), inner) for key, values in members}
    return result


def to_dict(config: Config) -> dict[str, Any]:
    """Return the config as plain nested containers."""
    return dataclasses.asdict(config)


def _schemas(config: Config | dict[str, Any]) -> dict[str, type]:
    """Return the schema of each group; of a plain config, which may name what is not there, none for such a one."""
    if isinstance(config, Config):
        return {group: type(getattr(config, group)) for group in GROUPS}
    env = config.get("env")
    found = ENVIRONMENTS.get(str(env.get("name", UNNAMED)).rpartition(":")[2]) if isinstance(env, dict) else None
    return GROUPS | {"env": found.schema if found else EnvConfig}


def config_hash(config: Config | dict[str, Any]) -> str:
    """Return 16 hex digits over everything that decides a run's result; `resume`, the paths `start`, `data.shards` and
    `data.problems`, the group `logger` and `trainer.num_threads` do not.

    `config` may be the plain one of a file, whose hash does not know the keys that came later.
    """
    values = dict(to_dict(config) if isinstance(config, Config) else config)
    if values.get("improve") == dataclasses.asdict(ImproveConfig()):  # a run of before there was any
        del values["improve"]
    if is_default(values.get("slot")):  # a base without the slot
        del values["slot"]
    values.pop("logger", None)
    if values.get("callbacks") == dataclasses.asdict(CallbacksConfig()):
        del values["callbacks"]
    values["data"] = {key: value for key, value in values.get("data", {}).items() if key not in ("shards", "problems")}
    for group, schema in _schemas(config).items():
        if isinstance(values.get(group), dict):
            values[group] = without_later(schema, values[group])
    if "num_threads" in values.get("trainer", {}):
        values["trainer"] = values["trainer"] | {"num_threads": 1}  # which runs had when it decided something
    if values.get("start_sha256") is not None and isinstance(values.get("model"), dict):
        values["model"] = {key: value for key, value in values["model"].items() if key not in SHAPE}
    values = without_later(Config, {key: value for key, value in values.items() if key not in ("resume", "start")})
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
