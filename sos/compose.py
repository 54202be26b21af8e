"""From words on the command line to a `Config`: where conf/ lies, and Hydra's own grammar and composition."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sos.config import CHOSEN, DEFAULT_SEARCH, Config
from sos.envs.config import EnvConfig
from sos.envs.registry import DEFAULT, ENVIRONMENTS
from sos.errors import UserError, one_line
from sos.schema.elsewhere import elsewhere
from sos.schema.folders import config_folder, searched
from sos.schema.keys import as_typed, describe_keys, nearest, path_keys, unused
from sos.schema.naming import PLAIN, as_word, quoted, run_name
from sos.schema.slot import SlotConfig
from sos.schema.stages import unused_by_stage
from sos.schema.stream import StreamConfig
from sos.schema.typed import first_foreign, typed_node, wrong_value
from sos.schema.words import drop_untyped, refuse_nameless
from sos.search.config import SearchConfig, member_schema
from sos.search.keys import StrategyConfig

FOLDER_KEYS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
_NO_SUCH_KEY = re.compile(
    r"Could not override '([^']+)'|Key '[^']+' (?:is not in struct|not in '\w+')\s+full_key: (\S+)"
)
# Config of conf/ -> the schema that it builds on, as Hydra knows it.
SCHEMAS = {"config": "schema", "generate": "generate_schema"}
# Group of which only the name is known while Hydra composes -> the schema of that, and the name by default.
NAMES_ALONE: dict[str, tuple[type, str]] = {"env": (EnvConfig, DEFAULT), "search": (StrategyConfig, DEFAULT_SEARCH)}


@dataclass
class ArmSweeperConf:
    """`hydra.sweeper`, which a file in conf/sweep fills."""

    _target_: str = "hydra_plugins.sos.ArmSweeper"  # as `sos.runs.sweeper` is known to Hydra
    name: str | None = None  # of the sweep, and of its folder
    question: str = ""
    primary: str = "solve/val"  # the metric that answers the question
    baseline: str | None = None  # the arm that the others are compared with; null: the first
    expect: list[str] = field(default_factory=list)  # written before any run: see `sos.runs.expectations`
    arms: dict[str, list[str]] = field(default_factory=dict)  # name: overrides
    # The same of arms that start from runs of this sweep: each is run alone, with `hydra.sweeper.arm=NAME start=RUN`.
    stages: dict[str, list[str]] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    arm: str | None = None  # set in each job: the arm that it belongs to
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


def register() -> None:
    """Put `schema`, on which conf/config.yaml builds, and that of the sweeper into Hydra's ConfigStore."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    store_schema(SCHEMAS["config"], Config)
    ConfigStore.instance().store(group="hydra/sweeper", name="arms", node=ArmSweeperConf, provider="sos")
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)


def store_schema(name: str, schema: type, groups: Mapping[str, Any] | None = None) -> None:
    """Put a `Config` into Hydra's ConfigStore, on which files of conf/ build.

    A group whose schema its `name` chooses takes any key while Hydra composes, because the last word may choose
    another; `choose_schemas` then says whose keys they are. `groups` are the defaults of such groups, by default their
    name alone.
    """
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    node = OmegaConf.structured(schema)
    for group, (name_alone, default) in NAMES_ALONE.items():
        node[group] = groups[group] if groups else OmegaConf.structured(name_alone(default))
        OmegaConf.set_struct(node[group], False)  # `choose_schemas` says what is foreign
    ConfigStore.instance().store(name=name, node=node)


def show_whole(name: str, schema: type, words: Sequence[str]) -> list[str]:
    """Let Hydra compose the config `name` of conf/ with all keys of the environment and the search that the words name;
    return further words for what it would take from the default run.

    Hydra prints a config itself, before `choose_schemas` could give them their defaults.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    with explained(schema), initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = hydra_compose(name, overrides=plain_paths(words, path_keys(schema)))
        dropped = choose_schemas(composed, words)
    store_schema(SCHEMAS[name], schema, {group: composed._get_node(group) for group in NAMES_ALONE})
    values = {key: OmegaConf.select(composed, key) for key in dropped}
    return [f"~{key}" if value is None else as_word(key, as_typed(value)) for key, value in values.items()]


def choose_schemas(composed: Any, words: Sequence[str] = ()) -> list[str]:
    """Give the groups `env` and `search` of a composed config, and the members of a mixture, the schemas of what they
    name. Where `words` choose another by its name alone, such as `search.name=beam`, it has its own defaults, and the
    keys that the default run had set are returned.

    Raises UserError for an unknown name, and for a key that a schema lacks, such as one of another.
    """
    from omegaconf import OmegaConf, open_dict

    root, dropped = OmegaConf.get_type(composed) or Config, []
    dropped += [f"stream.{key}" for key in drop_untyped(composed, "stream", Config(), words)]
    for group, schema_of in CHOSEN.items():
        node = composed._get_node(group)
        if OmegaConf.is_missing(node, "name"):
            raise UserError(f"{group}.name is missing: say {group}.name=...")
        if "name" not in node:
            raise UserError(f"{group}.name cannot be removed: every key of the config has a value")
        dropped += [f"{group}.{key}" for key in drop_untyped(composed, group, Config(), words)]
        schema = schema_of(node.name)
        if OmegaConf.get_type(node) is schema:
            continue
        foreign = first_foreign(node, schema)
        if foreign is not None:
            raise no_such_key(f"{group}.{foreign}", root, {group: schema})
        members = _members(node, f"{group}.strategies") if schema is SearchConfig else {}
        typed = typed_node(schema, node, [group], () if not members else ("strategies",))
        for name, member in members.items():
            typed.strategies[name] = member
        with open_dict(composed):
            composed[group] = typed
    return dropped


def _members(node: Any, prefix: str) -> dict[str, Any]:
    """Return the members of a mixture, each of the schema that its name chooses; none where one is no group of keys."""
    from omegaconf import DictConfig

    members = node._get_node("strategies")
    if not isinstance(members, DictConfig) or members._is_none() or members._is_missing():
        return {}
    found = {str(name): members._get_node(name) for name in members}
    if not all(isinstance(member, DictConfig) and not member._is_none() for member in found.values()):
        return {}
    typed = {}
    for name, member in found.items():
        assert isinstance(member, DictConfig)
        schema = member_schema(member.get("name", DEFAULT_SEARCH), f"{prefix}.{name}")
        foreign = first_foreign(member, schema)
        if foreign is not None:
            raise no_such_key(f"{prefix}.{name}.{foreign}")
        typed[name] = typed_node(schema, member, [*prefix.split("."), name])
    return typed


# --- what a word may say ---


def known_names(schema: type = Config, chosen: Mapping[str, type] | None = None) -> list[str]:
    """Return what may stand before a `=`: the keys of a schema, of `chosen` ones in it, and the groups of conf/."""
    names = [key.name for key in describe_keys(schema, groups=chosen)]
    try:
        groups = [path.name for path in config_folder().iterdir() if path.is_dir()]
    except UserError:
        groups = []
    return [*names, *sorted(groups)]


def no_such_key(name: str, schema: type = Config, chosen: Mapping[str, type] | None = None) -> UserError:
    """Return the error for a key that the schema lacks, with the nearest known one."""
    found = elsewhere(name)
    return UserError(
        f"{name} is no key of the config{f': {found}' if found else nearest(name, known_names(schema, chosen))}"
    )


_MERGED = re.compile(r"Error merging override (.+)")


@contextmanager
def explained(schema: type = Config) -> Iterator[None]:
    """Turn what Hydra and OmegaConf raise into a UserError of one line, with the known key that is nearest."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        found = _NO_SUCH_KEY.search(f"{error}\n{error.__cause__}")
        if found:
            raise no_such_key(found[1] or found[2], schema) from error
        typed = _MERGED.match(str(error))
        raise wrong_value(error.__cause__ or error, typed[1] if typed else "") or UserError(one_line(error)) from error
    except OverflowError as error:  # a whole number of hundreds of digits for a key that takes fractions
        key = re.search(r"full_key: (\S+)", str(error))
        raise UserError(f"{key[1] if key else 'a key'}: the number is too large") from error


def _foreign(node: Any, prefix: str) -> Iterator[tuple[str, bool]]:
    """Yield (dotted name, whether it was added) of each key in which a composed config differs from its schema."""
    from omegaconf import DictConfig, OmegaConf

    schema = OmegaConf.get_type(node)
    names = {f.name for f in dataclasses.fields(schema)} if dataclasses.is_dataclass(schema) else None
    present = set(node.keys())
    if names is not None:
        yield from ((prefix + str(name), True) for name in sorted(map(str, present - names)))
        yield from ((prefix + name, False) for name in sorted(names - present))
    for name in present if names is None else present & names:
        child = node._get_node(name)
        if isinstance(child, DictConfig) and not (child._is_none() or child._is_missing() or child._is_interpolation()):
            yield from _foreign(child, f"{prefix}{name}.")


def refuse_foreign(composed: Any, prefix: str = "") -> None:
    """Raise UserError for a key that was added, as `+` and `++` do, or removed, as `~` does."""
    from omegaconf import OmegaConf

    for name, added in _foreign(composed, prefix):
        # Hydra drops some of its own keys, and has a group that its schema lacks.
        if prefix and (not added or name == "hydra.env"):
            continue
        if not added:
            raise UserError(f"{name} cannot be removed: every key of the config has a value")
        schema = OmegaConf.get_type(composed)
        if prefix:
            raise UserError(f"{name} is no key of the config")
        raise no_such_key(name, schema if dataclasses.is_dataclass(schema) else Config)


def refuse_unused_words(config: Any, words: Sequence[str]) -> None:
    """Raise UserError for a typed key that the other values leave without use, unless it has its default there."""
    for word in words:
        why = unused_word(config, word)
        if why:
            raise UserError(f"{word.lstrip('+')} {why}")


def unused_word(config: Any, word: str) -> str | None:
    """Return why a typed `group.key=value` has no use in `config`; None where it has one, or is no such word."""
    name = word.partition("=")[0].lstrip("+")
    group, _, last = name.partition(".")
    options = getattr(config, group, None)
    if not dataclasses.is_dataclass(options) or last not in {f.name for f in dataclasses.fields(options)}:
        return None
    default = next(key.default for key in describe_keys(type(options)) if key.name == last)
    why = unused_by_stage(config, group, last)
    if why is None and getattr(options, last) != default:
        why = unused(options, group, last)
        if why is None and isinstance(options, SlotConfig | StreamConfig):
            why = options.no_use(last)
    return why


@contextmanager
def plainly() -> Iterator[None]:
    """Turn what OmegaConf raises for a value into a UserError of one line that names its key."""
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except OmegaConfBaseException as error:
        cause = error.__cause__ or error
        found = wrong_value(error)
        if found:
            raise found from error
        key = getattr(error, "full_key", None)
        text = str(cause).splitlines()[0]
        raise UserError(f"{key}: {text}" if key and key not in text else text) from error


def to_object(composed: Any, words: Sequence[str] = (), others: Sequence[str] = ()) -> Any:
    """Turn Hydra's composed config into the object of its schema, a `Config`.

    `words` are the overrides that were typed for it, and must have a use; `others` are those that need have none.
    Raises UserError in one line for a missing, impossible, unknown or useless value.
    """
    from omegaconf import OmegaConf

    with plainly():
        choose_schemas(composed, [*words, *others])
    refuse_foreign(composed)
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        raise UserError(f"{missing[0]} is missing: say {missing[0]}=...")
    with plainly():
        config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    refuse_unused_words(config, words)
    return config


# --- values that are paths ---


def plain_paths(words: Sequence[str], paths: Collection[str] | None = None) -> list[str]:
    """Return the words with paths quoted where Hydra's grammar needs it, so that any path can be typed plainly.

    `paths` are the keys, those of `Config` and Hydra's folders by default. A value that the grammar reads as a text
    stays as it is; so does a list of alternatives, as in a sweep, unless a file or folder of just this name is there.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    known = {*(path_keys(Config) if paths is None else paths), *FOLDER_KEYS}
    known |= {f"env.{name}" for environment in ENVIRONMENTS.values() for name in path_keys(environment.schema)}
    parser = OverridesParser.create()
    result = []
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name.lstrip("+") in known and not PLAIN.fullmatch(value):
            try:
                parsed = parser.parse_override(word)
                is_text = _is_text(parsed) or (parsed.is_sweep_override() and not Path(value).exists())
            except HydraException:
                is_text = False
            word = word if is_text else f"{name}={quoted(value)}"
        result.append(word)
    return result


def _is_text(override: Any) -> bool:
    """Tell whether a parsed value is a text or null, as a path may be, and no list or number."""
    from hydra.core.override_parser.types import QuotedString

    value = None if override.is_sweep_override() else override.value()
    return not override.is_sweep_override() and (value is None or isinstance(value, (str, QuotedString)))


# --- composition ---


def compose(overrides: Sequence[str]) -> Config:
    """Compose the config of conf/ with Hydra overrides. Raises UserError in one line."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    register()
    refuse_nameless(overrides, config_folder())
    words = plain_paths([*(word for word in searched() if word not in overrides), *overrides])
    with explained(), initialize_config_dir(str(config_folder()), version_base="1.3"):
        return to_object(hydra_compose("config", overrides=words), words)


def combinations(overrides: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """Yield (overrides of one combination, its swept values as text) for overrides with commas, as with -m."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with explained():
        parsed = OverridesParser.create().parse_overrides(plain_paths(overrides))
    choices, swept = [], []
    for override in parsed:
        if override.is_sweep_override():
            key = override.get_key_element()
            values = list(override.sweep_string_iterator())
            choices.append([f"{key}={value}" for value in values])
            swept.append([key.rpartition(".")[2] + "=" + value for value in values])
        else:
            choices.append([str(override.input_line)])
            swept.append([""])
    for chosen, names in zip(itertools.product(*choices), itertools.product(*swept), strict=True):
        yield list(chosen), " ".join(filter(None, names))
