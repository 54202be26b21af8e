"""Words of a command line that Hydra would answer with a traceback."""

from __future__ import annotations

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
