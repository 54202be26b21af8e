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
    """Remove from a group of a composed config what the default run chose for its own task and search; return the keys.

    `default` is the default run. Its values go where `words` say GROUP.name=OTHER, and for `search` where the
    environment is another; what was typed stays, and so does a preset that was typed, such as `search=by_operator`.
    """
    from omegaconf import open_dict

    typed = {word.partition("=")[0].lstrip("+") for word in words}
    chosen = getattr(default, group)
    node = composed._get_node(group)
    renamed = f"{group}.name" in typed and node.name != chosen.name
    elsewhere = group == "search" and composed.env.get("name") != default.env.name and node.name == chosen.name
    if group in typed or not (renamed or elsewhere):
        return []
    plain, dropped = type(chosen)(), []
    for field in dataclasses.fields(chosen):
        value = getattr(chosen, field.name)
        preset = value != getattr(plain, field.name) and node.get(field.name) == value
        if preset and f"{group}.{field.name}" not in typed:
            with open_dict(node):
                del node[field.name]
            dropped.append(field.name)
    return dropped
