"""The grammar of all verbs: runs or files first, then `key=value` as Hydra reads it; a dataclass is schema, help and
check.

A field of such a dataclass is made by `key`, `places` or `configs`. Nothing here imports Hydra before there are words
to read.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

from sos.errors import UserError, one_line
from sos.schema.keys import fits, wrong_type

Schema = TypeVar("Schema")
_KEY = re.compile(r"(\+\+|\+|~)?([A-Za-z_][\w/-]*(?:\.\w+)*)(?:@[\w.]*)?=", re.ASCII)
# Keys of train.py that are no fields of its schema: they choose files of conf/.
PRESETS = ("experiment", "control")
# The groups and the single keys of a run's config, and the presets.
TRAIN_ROOTS = ("env", "search", "stream", "data", "model", "optim", "trainer", "eval", "slot", "seed", *PRESETS)


def option(default: Any, sentence: str, *, choices: tuple[str, ...] = (), low: float | None = None) -> Any:
    """Return a field of a verb's schema: its default (`...`: it must be given), and the sentence that its help shows.

    `choices` are all texts that it can be; a number must not be below `low`.
    """
    metadata = {"sentence": sentence, "choices": choices, "low": low, "required": default is ...}
    if default is ...:
        return dataclasses.field(default=None, metadata=metadata)
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def places(metavar: str, sentence: str, *, most: int | None = None, least: int = 1, labels: bool = False) -> Any:
    """Return the field, list[str], that takes the words without a key: runs or files, with `labels` also
    `LABEL=FOLDER`."""
    metadata = {"places": metavar, "sentence": sentence, "most": most, "least": least, "labels": labels}
    return dataclasses.field(default_factory=list, metadata=metadata)


def configs(roots: Sequence[str], sentence: str) -> Any:
    """Return the field, list[str], that takes the words whose keys are those of train.py below `roots`, such as
    "eval"."""
    return dataclasses.field(default_factory=list, metadata={"configs": tuple(roots), "sentence": sentence})


def check_once(given: Sequence[str]) -> None:
    """Refuse a run or a file that is given twice, however its path is written. Raises UserError."""
    known: set[Path] = set()
    for word in given:
        path = Path(word).resolve()
        if path in known:
            raise UserError(f"{word} is given twice")
        known.add(path)


def taken_folders(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words without those that add folders with YAML, and those, as Hydra takes them: `--config-dir FOLDER`
    is `hydra.searchpath=[file://FOLDER]`. Raises UserError for what is no folder."""
    rest: list[str] = []
    folders: list[str] = []
    found: list[str] = []
    given = iter(words)
    for word in given:
        flag, equals, value = word.partition("=")
        if flag in ("--config-dir", "-cd"):
            folder = value if equals else next(given, "")
            if not Path(folder).is_dir() or not folder:
                raise UserError(f"--config-dir={folder} is no folder")
            folders.append(folder)
        elif flag.lstrip("+") == "hydra.searchpath":
            found.append(word)
        else:
            rest.append(word)
    if folders and found:
        raise UserError("say --config-dir or hydra.searchpath, not both")
    if folders:
        from sos.schema.naming import quoted

        places = [f"file://{folder}" for folder in folders]
        places = [place if re.fullmatch(r"[\w/.:+-]+", place, re.ASCII) else quoted(place) for place in places]
        found = [f"hydra.searchpath=[{','.join(places)}]"]
    return rest, found


class Known(NamedTuple):
    """A schema's fields by what they take."""

    keys: dict[str, dataclasses.Field[Any]]
    places: dataclasses.Field[Any] | None
    configs: dataclasses.Field[Any] | None

    @classmethod
    def of(cls, schema: type) -> Known:
        """Sort the fields of a dataclass."""
        fields = dataclasses.fields(schema)
        keys = {f.name: f for f in fields if not {"places", "configs"} & f.metadata.keys()}
        return cls(
            keys,
            next((f for f in fields if "places" in f.metadata), None),
            next((f for f in fields if "configs" in f.metadata), None),
        )


def nearest(word: str, known: Sequence[str]) -> str:
    """Return the end of a message about an unknown word: the nearest known one, or all of them."""
    near = difflib.get_close_matches(word, known, 1, 0.5)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"


def read(schema: type[Schema], words: Sequence[str]) -> Schema:
    """Return the options that the words say, checked. Raises UserError that names the word or key and what is known."""
    known = Known.of(schema)
    values: dict[str, Any] = {}
    free: list[str] = []
    overrides: list[str] = []
    for word in words:
        name = _key_of(word, known)
        if name is None:
            free.append(word)
        elif name not in known.keys:
            overrides.append(word)
        elif name in values:
            raise UserError(f"{name} is given twice")
        else:
            values[name] = _value(schema, known.keys[name], word)
    if known.places is not None:
        _check_places(known.places, free)
        values[known.places.name] = free
    if known.configs is not None:
        values[known.configs.name] = overrides
    for name, field in known.keys.items():
        if field.metadata.get("required") and values.get(name) is None:
            raise UserError(f"{name}=... is missing: {field.metadata['sentence']}")
    return schema(**values)


def _key_of(word: str, known: Known) -> str | None:
    """Return the key of a word, None for a run or a file. Raises UserError for a key that the verb does not have."""
    match = _KEY.match(word)
    takes_places = known.places is not None
    if match and match[2] in known.keys and not match[1]:
        return match[2]
    roots = known.configs.metadata["configs"] if known.configs else ()
    if match and re.split(r"[./]", match[2])[0] in roots:
        return match[2]
    if takes_places and (match is None or Path(word).exists()):
        return None
    names = [*known.keys, *roots]
    if match is None:
        if word.startswith("-"):
            raise UserError(f"unknown word {word!r}: options are key=value ({', '.join(names)})")
        raise UserError(f"arguments are key=value, got {word!r}; known are {', '.join(names)}")
    labelled = takes_places and known.places is not None and known.places.metadata["labels"]
    if labelled and (Path(word[match.end() :]).exists() or not difflib.get_close_matches(match[2], names, 1, 0.5)):
        return None
    raise UserError(f"unknown key {match[2]!r}; {nearest(match[2], names)}")


def _check_places(field: dataclasses.Field[Any], free: Sequence[str]) -> None:
    """Refuse too few or too many runs or files, and words that were meant as options."""
    for word in free:
        if not word or (word.startswith("-") and not Path(word).exists()):
            raise UserError(f"unknown word {word!r}: options are key=value")
    metavar, most, least = (field.metadata[name] for name in ("places", "most", "least"))
    if len(free) < least:
        raise UserError(f"{metavar} is missing: {field.metadata['sentence']}")
    if most is not None and len(free) > most:
        raise UserError(f"one {metavar} at a time, got {' and '.join(free)}" if most else f"unknown word {free[0]!r}")


def _value(schema: type, field: dataclasses.Field[Any], word: str) -> Any:
    """Return the value of `key=value`, of the field's type. Raises UserError."""
    name, metadata = field.name, field.metadata
    hint = get_type_hints(schema)[name]
    value = _text(word) if hint in (str, str | None) else _typed(schema, name, word)
    if metadata.get("choices") and value not in metadata["choices"]:
        raise UserError(f"{name} must be one of {', '.join(metadata['choices'])}, got {value}")
    low = metadata.get("low")
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            if not abs(number) < float("inf"):
                raise UserError(f"{name} must be a finite number, got {number}")
            if low is not None and number < low:
                raise UserError(f"{name} must be at least {low}, got {number}")
    return value


def _text(word: str) -> str:
    """Return a value that is a text as it was typed, without Hydra's quotes: no path has to be quoted."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    name, _, value = word.partition("=")
    if not value:
        raise UserError(f"{name}= is empty; arguments are key=value")
    if value[0] in "'\"":
        try:
            parsed = OverridesParser.create().parse_override(word).value()
        except HydraException:
            return value
        return parsed if isinstance(parsed, str) else value
    return value


def _typed(schema: type, name: str, word: str) -> Any:
    """Return the value of a key that is no text, read by Hydra's parser and converted to the type of the schema."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    hint = get_type_hints(schema)[name]
    try:
        override = OverridesParser.create().parse_override(word)
        if override.is_sweep_override():
            raise UserError(f"{word}: one value, or a list in brackets: {name}=[...]")
        found = OmegaConf.merge(OmegaConf.structured(schema), {name: override.value()})
    except HydraException as error:
        raise UserError(f"{word}: {one_line(error)}") from error
    except OmegaConfBaseException as error:
        raise wrong_type(name, hint, override.value()) from error
    value: Any = OmegaConf.select(found, name)
    value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    if not fits(value, hint):  # a list in a list
        raise wrong_type(name, hint, value)
    return value


def shown(value: Any) -> str:
    """Return a default as it would be typed."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(shown, value)) + "]"
    return str(value)


def default_of(field: dataclasses.Field[Any]) -> Any:
    """Return the default of a dataclass field."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def help_of(verb: str, summary: str, schema: type) -> str:
    """Return the text of `sos VERB --help`: how it is called, what it does, and each key with its default and
    sentence."""
    known = Known.of(schema)
    usage = ["sos", verb]
    if known.places is not None:
        metavar, most = known.places.metadata["places"], known.places.metadata["most"]
        one = metavar if most == 1 else f"{metavar}..."
        usage.append(one if known.places.metadata["least"] else f"[{one}]")
    usage += [f"{name}=..." for name, field in known.keys.items() if field.metadata.get("required")]
    usage.append("[key=value ...]")
    rows = [] if known.places is None else [(known.places.metadata["places"], known.places.metadata["sentence"])]
    for name, field in known.keys.items():
        default = "" if field.metadata.get("required") else shown(default_of(field))
        choices = ", ".join(field.metadata.get("choices", ()))
        rows.append((f"{name}={default}", field.metadata["sentence"] + (f" ({choices})" if choices else "")))
    if known.configs is not None:
        roots = ", ".join(known.configs.metadata["configs"])
        rows.append(("train.py's keys", f"{known.configs.metadata['sentence']} ({roots})"))
    text = inspect.cleandoc(schema.__doc__ or "")
    return "\n\n".join([" ".join(usage), f"{summary[0].upper()}{summary[1:]}.", text, table(rows)])


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Return lines of a left and a right column, the right one wrapped; a long left one has a line of its own."""
    width = min(28, max(len(left) for left, _ in rows))
    lines = []
    for left, right in rows:
        wrapped = textwrap.wrap(right, 110 - width) or [""]
        if len(left) > width:
            lines.append(f"  {left}")
            left = ""
        lines.append(f"  {left:<{width}}  {wrapped[0]}".rstrip())
        lines += [" " * (width + 4) + line for line in wrapped[1:]]
    return "\n".join(lines)
