"""Contexts from a dialect's templates, as text, token by token: the slow way."""

from __future__ import annotations

from typing import Any

from sos.context.items import Item
from sos.stream.dialect.compile import Dialect


def words_of_actions(dialect: Dialect, item: Item) -> list[str]:
    """The texts of an item's actions: of the template of `generate`, the fields that are said and what stands between them."""
    env = dialect.env
    texts: list[str] = []
    for number, action in enumerate(item.actions.tolist()):
        texts += ["<then>"] if number else []
        told: list[str] = []
        between: list[str] = []
        seen: set[str] = set()
        before_was_number = False
        for word in dialect.forms["generate"]:
            field = action_field(env, word)
            if not word.startswith("{") and word not in ("{",):
                if told:
                    between.append(word)
            elif field is not None and action[field.column] >= 0 and word not in seen:
                seen.add(word)
                if field.symbols:
                    spelled = [field.symbols[action[field.column]]]
                elif action[field.column] <= dialect.vocab.whole_max:
                    spelled = [str(action[field.column])]
                else:
                    spelled = list(str(action[field.column]))
                if told and not between and before_was_number and not field.symbols:
                    between = ["<then>"]
                told += [*between, *spelled]
                between = []
                before_was_number = not field.symbols
        texts += told
    return texts


def action_field(env: Any, word: str) -> Any:
    """The field of an action that `{name}` stands for, None for other words."""
    found = [field for field in env.fields.get(word.strip("{}"), ()) if field.row == "action"]
    return found[0] if found and word.startswith("{") else None
