"""The keys of other groups that a run with a start, or with practice, has no use for."""

from __future__ import annotations

from typing import Any

from sos.schema.improve_words import NO_SHAPE

# What a stage of practice has no use for: it makes its own streams, and its budget is rounds.
OF_STREAMS = (
    "match",
    "train_tokens",
    "train_problems",
    "train_seconds",
    "num_problems",
    "prompt_loss",
    "length_warmup",
    "length_start",
    "block",
    "shards",
)


def unused_by_stage(config: Any, group: str, name: str) -> str | None:
    """Return why a key of another group has no use in a config, or None where `start` and `improve` leave it its
    use."""
    start, improve = getattr(config, "start", None), getattr(config, "improve", None)
    if start is not None and group == "model" and name not in NO_SHAPE:
        return f"has no use with start={start}: the model keeps the shape of its start"
    if improve is None or not improve.on:
        return None
    if (group == "data" and name in OF_STREAMS) or (group, name) == ("trainer", "batch_tokens"):
        return f"has no use with improve.loss={improve.loss}, whose budget is improve.rounds"
    return None
