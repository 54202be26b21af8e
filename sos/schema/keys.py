"""Keys of schemas: `key(default, sentence, ...)` declares one, `check_keys` checks values, `describe_keys` lists.

A schema is a dataclass whose fields are made by `key`. It is the only place where a default stands, the range that a
value must lie in, the sentence that a command's help shows, and the choice without which a key has no use.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sos.errors import UserError

INT64 = 2**63 - 1


@dataclass(frozen=True)
class Key:
    """One key of a schema, as help shows it."""

    name: str  # dotted
    type: str
    default: Any
    sentence: str


def key(
    default: Any,
    sentence: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Collection[Any] | None = None,
    only: Mapping[str, Collection[Any] | None] | None = None,
    path: bool = False,
    later: bool = False,
) -> Any:
    """Return the dataclass field of a key.

    A number lies from `low` to `high`, both inclusive, above `above` and below `below`; what a list holds, too.
    `choices` are the values allowed. `only` names another key of the schema and the values of it with which this key
    has a use; None stands for any value but zero, the empty one and false. `path` marks a value that is the path of a
    file or a folder. `later`: there were records before this key came; at its default it is left out of their hashes
    and recipes, so that they stay what they were.
    """
    metadata = {
        "sentence": sentence,
        "low": low,
        "high": high,
        "above": above,
        "below": below,
        "choices": choices,
        "only": dict(only or {}),
        "path": path,
        "later": later,
    }
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def chosen(default: type, **values: Any) -> Any:
    """Return the field of a group whose schema is one of several, all derived from the one that the field declares: by
    default `default` with these values."""
    return dataclasses.field(default_factory=partial(default, **values), metadata={"schema": default})


def hints(schema: type) -> dict[str, Any]:
    """Return the types of a schema's fields; of one made by `chosen`, its default's."""
    defaults = {f.name: f.metadata["schema"] for f in dataclasses.fields(schema) if "schema" in f.metadata}
    return typing.get_type_hints(schema) | defaults


def nested(hint: Any) -> type | None:
    """Return the schema that a field of this type holds, itself or as the values of a dict; None for a plain value."""
    for candidate in (hint, *typing.get_args(hint)[1:]):
        if dataclasses.is_dataclass(candidate) and isinstance(candidate, type):
            return candidate
    return None


def default_of(field: dataclasses.Field) -> Any:
    """Return a field's default; MISSING where it has none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def without_later(schema: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain values of a group without the keys that came later and have their defaults."""
    later = {f.name: default_of(f) for f in dataclasses.fields(schema) if f.metadata.get("later")}
    return {name: value for name, value in values.items() if name not in later or value != later[name]}


def describe_keys(schema: type, prefix: str = "", groups: Mapping[str, type] | None = None) -> list[Key]:
    """Return every key of a schema and of the schemas in it, in order, by its dotted name.

    `groups` says the schemas of fields made by `chosen` where they are not the defaults.
    """
    found = []
    known = hints(schema) | dict(groups or {})
    for field in dataclasses.fields(schema):
        hint = known[field.name]
        inner = nested(hint)
        if inner is not None and hint is inner:
            found += describe_keys(inner, f"{prefix}{field.name}.")
            continue
        shown = field.type if isinstance(field.type, str) else getattr(hint, "__name__", str(hint))
        sentence = field.metadata.get("sentence", "")
        found.append(Key(prefix + field.name, shown, default_of(field), sentence))
    return found


def path_keys(schema: type) -> set[str]:
    """Return the dotted names of the keys whose values are paths."""
    found = set()
    for field in dataclasses.fields(schema):
        inner = nested(hints(schema)[field.name])
        if inner is not None:
            found |= {f"{field.name}.{name}" for name in path_keys(inner)}
        elif field.metadata.get("path"):
            found.add(field.name)
    return found


def nearest(name: str, known: Collection[str]) -> str:
    """Return ' (did you mean ...?)' with the known key that is most like `name`, or the empty string."""
    groups = {other.rpartition(".")[0] for other in known}
    group, _, last = name.rpartition(".")
    if group in groups:  # within the right group, its own keys come first
        own = {other.rpartition(".")[2]: other for other in known if other.rpartition(".")[0] == group}
        initials = "".join(part[:1] for part in last.split("_"))
        like = [initials] if initials in own else difflib.get_close_matches(last, own, 1, 0.5)
        if like:
            return f" (did you mean {own[like[0]]}?)"
    same = [other for other in known if other.rpartition(".")[2] == last]
    like = same or difflib.get_close_matches(name, known, 1, 0.5)
    return f" (did you mean {like[0]}?)" if like else ""


def fits(value: Any, hint: Any) -> bool:
    """Tell whether a plain value has the type; an int is a float, too, but a bool is no number."""
    origin = typing.get_origin(hint)
    if origin is list:
        return isinstance(value, (list, tuple)) and all(fits(item, typing.get_args(hint)[0]) for item in value)
    if origin is dict:
        of_keys, of_values = typing.get_args(hint)
        return isinstance(value, dict) and all(fits(k, of_keys) and fits(v, of_values) for k, v in value.items())
    if typing.get_args(hint):
        return any(fits(value, option) for option in typing.get_args(hint))
    if isinstance(value, bool):
        return hint is bool or hint is Any
    if hint is float:
        return isinstance(value, (int, float))
    return hint is Any or isinstance(value, hint)


_PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}


def wrong_type(name: str, hint: Any, value: Any) -> UserError:
    """Return the error of a key whose value is not of its type, which it says in words."""
    if typing.get_origin(hint) is list:
        what = f"a list of {_PLAIN[typing.get_args(hint)[0]].removeprefix('a ')}s"
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and len(str(value)) <= 40:
            what += f", such as [{value}]"
    elif typing.get_origin(hint) is dict or dataclasses.is_dataclass(hint):
        what = "keys with values"
    else:
        what = " or ".join(_PLAIN.get(option, str(option)) for option in typing.get_args(hint) or [hint])
    return UserError(f"{name} must be {what}, got {as_typed(repr(value) if isinstance(value, str) else value)}")


def _check_number(name: str, value: float, limits: Mapping[str, Any]) -> None:
    low, high = limits.get("low"), limits.get("high")
    above, below = limits.get("above"), limits.get("below")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name} must be a finite number, got {value}")
    if above is not None and not value > above:
        raise UserError(f"{name} must be {'positive' if above == 0 else f'above {above}'}, got {value}")
    if below is not None and not value < below:
        raise UserError(f"{name} must be below {below}, got {value}")
    if low is not None and value < low:
        raise UserError(f"{name} must be at least {low}, got {value}")
    if high is not None and value > high:
        raise UserError(f"{name} must be at most {high}, got {value}")


def _numbers(name: str, value: Any) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a value, each with the name to be given for it."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _numbers(name, item)
    elif isinstance(value, dict):
        for inner, item in value.items():
            yield from _numbers(f"{name}.{inner}", item)


def check_keys(group: Any, prefix: str) -> None:
    """Check all values against type, range and choices. Raises UserError that names the key behind `prefix`."""
    schema = type(group)
    declared = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        value, hint = getattr(group, field.name), declared[field.name]
        name = f"{prefix}.{field.name}" if prefix else field.name
        if not fits(value, hint):
            raise wrong_type(name, hint, value)
        for place, number in _numbers(name, value):
            _check_number(place, number, field.metadata)
        choices = field.metadata.get("choices")
        if choices is not None and value not in choices:
            *most, last = map(str, choices)
            text = f"{', '.join(most)} or {last}" if all(isinstance(c, int) for c in choices) else ""
            raise UserError(f"{name} must be {text or 'one of ' + ', '.join([*most, last])}, got {value!r}")
        if isinstance(value, str) and "\0" in value:
            raise UserError(f"{name} holds a zero byte: {value!r}")
        if field.metadata.get("path") and isinstance(value, str) and not value.strip():
            raise UserError(f"{name}={value} is empty, and must be a path{' or null' if fits(None, hint) else ''}")


def unused(group: Any, prefix: str, name: str) -> str | None:
    """Return why a key has no use beside the values of the others in its group, or None where it has one."""
    field = next(field for field in dataclasses.fields(group) if field.name == name)
    for other, values in field.metadata.get("only", {}).items():
        found = getattr(group, other)
        if values is None and not found:
            return f"needs {prefix}.{other}, which is {as_typed(found)}"
        if values is not None and found not in values:
            return f"has no use with {prefix}.{other}={as_typed(found)}"
    return None


def refuse_unused(group: Any, prefix: str) -> None:
    """Raise UserError for a key that was changed from its default and has no use beside the others."""
    for field in dataclasses.fields(group):
        why = unused(group, prefix, field.name)
        value = getattr(group, field.name)
        if why and value != default_of(field):
            raise UserError(f"{prefix}.{field.name}={as_typed(value)} {why}")


def as_typed(value: Any) -> str:
    """Return a value as it is typed, cut where it is long."""
    if value is None:
        return "null"
    if isinstance(value, (list, tuple)):
        text = "[" + ",".join(map(as_typed, value)) + "]"
    else:
        text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
