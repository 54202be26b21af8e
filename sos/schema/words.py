"""Words of a command line that Hydra would answer with a traceback."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sos.errors import UserError
from sos.schema.keys import as_typed


def refuse_nameless(words: Sequence[str], folder: Path) -> None:
    """Raise UserError for a word that chooses a file of a group of `folder` by what is no name, such as
    `experiment=null`."""
    for word in words:
        group, equals, _ = word.lstrip("+").partition("=")
        group = group.partition("@")[0]
        if equals and "." not in group and ("/" in group or (folder / group).is_dir()):
            for value in _values(word):
                if not isinstance(value, str):
                    raise UserError(f"{word}: a group of the config takes a name, not {as_typed(value)}")


def _values(word: str) -> Iterator[Any]:
    """Yield what a word chooses, of a list or a sweep each; nothing where Hydra cannot read it, which it says itself,
    and nothing for keys with values."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import QuotedString, Transformer
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(word)
        swept = override.is_sweep_override()
        found = list(override.sweep_iterator(Transformer.identity)) if swept else [override.value()]
    except HydraException:
        return
    for value in found:
        for name in value if isinstance(value, list) else [value]:
            if not isinstance(name, dict):
                yield name.text if isinstance(name, QuotedString) else name


def drop_untyped(composed: Any, group: str, default: Any, words: Sequence[str]) -> list[str]:
    """Take back in a group of a composed config what the default run chose for its own task; return the keys.

    `default` is the default run. Its choices go where `words` say GROUP.name=OTHER and, but for those of `env`, where
    the environment is another: in favour of the schema's own defaults. What was typed stays, and so does a preset that
    was typed, such as `search=by_operator`, or that another preset changed in part.
    """
    from omegaconf import open_dict

    typed = {word.partition("=")[0].lstrip("+") for word in words}
    chosen, node = getattr(default, group), composed._get_node(group)
    own = getattr(chosen, "name", None)
    same = own is None or node.name == own
    renamed = f"{group}.name" in typed and not same
    elsewhere = group != "env" and same and composed.env.get("name") != default.env.name
    if group in typed or not (renamed or elsewhere):
        return []
    plain = type(chosen)()
    presets = {f.name: getattr(chosen, f.name) for f in dataclasses.fields(chosen)}
    presets = {name: value for name, value in presets.items() if value != getattr(plain, name)}
    untyped = [name for name in presets if f"{group}.{name}" not in typed]
    if any(node.get(name) != presets[name] for name in untyped):
        return []
    with open_dict(node):
        for name in untyped:
            if own is None:
                node[name] = getattr(plain, name)
            else:  # of another schema, perhaps
                del node[name]
    return untyped
