"""What can be said to train and generate: the keys with their sentences, and the files of conf/ with their first
comment."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from sos.commands.words import default_of, shown, table
from sos.envs.registry import DEFAULT, ENVIRONMENTS
from sos.schema.keys import hints
from sos.search.registry import OWN, SEARCHES

USAGE = {
    "config": (
        "sos train [key=value ...]    (in a checkout also: python train.py)",
        "Search, serialize, pretrain, evaluate. Every key has a default; `sos train` alone is the default run.\n"
        "With -m, values with commas are a sweep: -m stream.view=full,solution_path seed=1,2,3; +sweep=NAME runs one\n"
        "of conf/sweep. --config-dir FOLDER, or hydra.searchpath=[file://FOLDER], adds YAML of yours.",
    ),
    "generate": (
        "sos generate out=FOLDER [key=value ...]",
        "Write a data set: kind=traces (whole searches) or tokens (the streams of one view and dialect, which\n"
        "data.shards=FOLDER trains on). The same command continues after a kill; the bytes are the same with any\n"
        "number of workers and parts.\n"
        'One job for each of four machines: -m "part=range(0,4)" parts=4; then parts=4 merge=true.',
    ),
}
NAMED = {"config": ("experiment", "control", "sweep"), "generate": ("experiment", "control")}


def first_comment(path: Path) -> str:
    """Return what a file of conf/ says of itself: a sweep's question, or else its first comment, as one line."""
    lines: list[str] = []
    content = path.read_text(encoding="utf-8").splitlines()
    question = next((line for line in content if line.strip().startswith("question:")), None)
    if question:
        return question.partition(":")[2].strip().strip("\"'")
    for line in content:
        if line.startswith("# @"):
            continue
        if line.startswith("#"):
            lines.append(line.lstrip("# ").rstrip())
        elif lines:
            break
    return " ".join(lines)


def presets(folder: Path, group: str) -> list[tuple[str, str]]:
    """Return (name, what it says of itself) of every file of a group, such as "paper/sos" of "experiment"."""
    home = folder / group
    return [
        (path.relative_to(home).with_suffix("").as_posix(), first_comment(path))
        for path in sorted(home.rglob("*.yaml"))
    ]


def groups(folder: Path) -> list[str]:
    """Return the groups of conf/ that a word can choose from, such as `search=beam`."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name != "hydra")


def others(group: str) -> Iterator[tuple[str, Any, str]]:
    """Yield what `keys_of` does for what the group holds with other names than the default."""
    schemas: dict[str, dict[str, type]] = {
        "env": {name: found.schema for name, found in ENVIRONMENTS.items() if name != DEFAULT},
        "search": {name: found.schema for name, found in SEARCHES.items() if name not in OWN},
    }
    for name, schema in schemas.get(group, {}).items():
        for key, default, sentence in keys_of(schema, f"{group}."):
            if key != f"{group}.name":
                yield key, default, f"With {group}.name={name}: {sentence}"


def keys_of(schema: type, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yield (dotted key, default, sentence) of a schema and those within it."""
    known = hints(schema)
    for field in dataclasses.fields(schema):
        inner = known[field.name]
        if dataclasses.is_dataclass(inner) and isinstance(inner, type):
            yield from keys_of(inner, f"{prefix}{field.name}.")
            yield from others(prefix + field.name)
        elif not any(dataclasses.is_dataclass(part) for part in get_args(inner)):
            yield prefix + field.name, default_of(field), field.metadata.get("sentence", "")


def help_text(name: str, schema: type) -> str:
    """Return the help of the verb whose config is `name` of conf/: how it is called, named files, keys with
    defaults."""
    from sos.schema.folders import config_folder

    folder = config_folder()
    usage, text = USAGE[name]
    parts = [usage, text]
    for group in NAMED[name]:
        sign = "-m +sweep=" if group == "sweep" else f"{group}="
        parts.append(f"{group}s ({sign}NAME):\n{table(presets(folder, group))}")
    chosen = [group for group in groups(folder) if group not in ("experiment", "control", "sweep")]
    named = [(f"{group}=", ", ".join(found for found, _ in presets(folder, group))) for group in chosen]
    parts.append(f"groups (GROUP=NAME chooses a file of conf/GROUP):\n{table(named)}")
    rows = [(f"{key}={shown(default)}", sentence) for key, default, sentence in keys_of(schema)]
    if name == "generate":
        rows.sort(key=lambda row: not row[0].startswith("generate."))
        rows = [(left.removeprefix("generate."), sentence) for left, sentence in rows]
    parts.append(f"keys, with the defaults of the schema:\n{table(rows)}")
    parts.append("hydra.run.dir=FOLDER is the run's folder; --cfg job prints the composed config and runs nothing.")
    return "\n\n".join(parts)
