"""Writes docs/configuration.md from the schemas and conf/: `python .ci/configuration.py`. A test holds that it is up to date."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sos.commands.presets import presets
from sos.commands.words import shown
from sos.config import GROUPS, Config
from sos.envs.registry import ENVIRONMENTS
from sos.schema.keys import INT64, default_of, hints, nested
from sos.search.registry import SEARCHES

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "configuration.md"
HEAD = """# Configuration: every key, and every file that sets some

Made by `python .ci/configuration.py` from the schemas in the code, where a default stands once, and from the first lines of
the files in `conf/`. A key is typed as `group.key=value` behind any command; a file of a group is chosen by `group=NAME`, and
several keys at once by `experiment=NAME` or `control=NAME`. `python train.py --help` prints the same, `--cfg job` shows what a
command line makes. Each value is checked before anything starts; an unknown key is refused with the nearest known one.
"""
# What is chosen as a whole, or names what else is chosen: group -> what one word of it does.
FILES = {
    "experiment": "a run as a whole: task, search, wording, model and budget",
    "control": "one arm beside any experiment",
    "sweep": "a question with its arms and seeds: `python train.py -m +sweep=NAME`",
    "slot": "what streams may have before their problems",
    "improve": "how a trained model practises: `start=outputs/RUN improve=NAME`",
}


def cell(text: object) -> str:
    """Return the text as one cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def span(metadata: Any) -> str:
    """Return the values that a key's range allows, or the empty string."""
    if metadata.get("choices"):
        return ", ".join(f"`{shown(choice)}`" for choice in metadata["choices"])
    bounds = (("low", "at least"), ("above", "above"), ("high", "at most"), ("below", "below"))
    given = [(word, metadata[name]) for name, word in bounds if metadata.get(name) is not None]
    return ", ".join(
        f"{word} {int(bound) if bound == int(bound) else bound:,}" for word, bound in given if bound != INT64
    )


def needs(metadata: Any) -> str:
    """Return what a key has a use with, or the empty string."""
    words = []
    for name, values in metadata.get("only", {}).items():
        words.append(f"with `{name}`" if values is None else " or ".join(f"with `{name}={shown(v)}`" for v in values))
    return "; ".join(words)


def rows(schema: type, prefix: str, without: Collection[str] = ()) -> list[str]:
    """Return a row of a table for each key of a schema and of those within it, but for some."""
    found = []
    known = hints(schema)
    for field in dataclasses.fields(schema):
        if field.name in without:
            continue
        inner = nested(known[field.name])
        if inner is not None and inner is known[field.name]:
            found += rows(inner, f"{prefix}{field.name}.")
        elif inner is None:
            sentence = field.metadata.get("sentence", "")
            about = "; ".join(filter(None, (span(field.metadata), needs(field.metadata))))
            found.append(
                f"| `{prefix}{field.name}` | `{cell(shown(default_of(field)))}` | {cell(sentence)} | {cell(about)} |"
            )
    return found


def table(schema: type, prefix: str, without: Collection[str] = ()) -> str:
    """Return the table of a schema's keys, but for some."""
    head = ["| key | default | what it says | values |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *rows(schema, prefix, without)]) + "\n"


def first_line(schema: type) -> str:
    """Return a schema's sentence as one line."""
    return " ".join((schema.__doc__ or "").split("\n\n")[0].split())


def sections() -> list[str]:
    """Return the page, section by section."""
    found = [HEAD, f"## One run\n\n{table(Config, '', without=GROUPS)}"]
    for group, schema in GROUPS.items():
        files = [name for name, _ in presets(ROOT / "conf", group)] if (ROOT / "conf" / group).is_dir() else []
        listed = "\n\n" + ", ".join(f"`{group}={name}`" for name in files) if files else ""
        found.append(f"## {group}\n\n{first_line(schema)}{listed}\n")
        if group == "env":
            of_kinds: dict[str, type] = {name: environment.schema for name, environment in ENVIRONMENTS.items()}
        elif group == "search":
            of_kinds = {name: search.schema for name, search in SEARCHES.items()}
        else:
            found.append(table(schema, f"{group}."))
            continue
        for name, own in of_kinds.items():
            found.append(f"### {group}.name={name}\n\n{first_line(own)}\n\n{table(own, f'{group}.')}")
    for group, what in FILES.items():
        head = f"## Files of conf/{group}\n\nOne word chooses {what}.\n\n| {group} | what it is |\n| --- | --- |\n"
        found.append(head + "".join(f"| `{name}` | {cell(said)} |\n" for name, said in presets(ROOT / "conf", group)))
    return found


def page() -> str:
    """Return the whole page."""
    return "\n".join(sections())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
