"""Which rows of a program's tables the lists and the symbols of an environment's fields are."""

from __future__ import annotations

from typing import Any

import numpy as np

from sos.envs.protocol import Field
from sos.stream.dialect.program import LIST_COLUMNS
from sos.stream.dialect.vocab import Vocabulary


def all_fields(env: Any) -> list[Field]:
    return [field for fields in env.fields.values() for field in fields]


def lists(env: Any) -> list[Field]:
    """Return the fields that are lists, in the order of their rows in `Program.lists`."""
    return [field for field in all_fields(env) if field.size]


def told_symbols(env: Any) -> list[Field]:
    """Return the numbers of a state that have symbols, in the order of their rows behind those of the actions."""
    return [field for field in all_fields(env) if field.symbols and field.row == "state"]


def list_rows(env: Any) -> np.ndarray:
    """Return `Program.lists`."""
    rows, first = [], env.action_width + len(told_symbols(env))
    for field in lists(env):
        rows.append((field.column, field.size, field.counted, field.width, first if field.item_symbols else -1))
        first += len(field.item_symbols)
    return np.array(rows, np.int32).reshape(-1, LIST_COLUMNS)


def symbol_rows(env: Any, vocab: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """Return `Program.symbols` and `Program.columns`."""
    told = told_symbols(env)
    rows = [(field.column, field) for field in all_fields(env) if field.row == "action"]
    rows += [(env.action_width + k, field) for k, field in enumerate(told)]
    items = [(0, texts) for field in lists(env) for texts in field.item_symbols]
    texts = [(row, field.symbols) for row, field in rows]
    texts += [(env.action_width + len(told) + k, item) for k, (_, item) in enumerate(items)]
    most = max((len(symbols) for _, symbols in texts), default=0)
    table = np.full((env.action_width + len(told) + len(items), most), -1, np.int32)
    for row, symbols in texts:
        table[row, : len(symbols)] = [vocab.ids[symbol] for symbol in symbols]
    columns = [*range(env.action_width), *(field.column for field in told), *(column for column, _ in items)]
    return table, np.array(columns, np.int32)
