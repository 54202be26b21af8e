"""A data set as JSON lines or Parquet: `sos export FOLDER out=FILE.jsonl` (or `.parquet`) `[dialect=sos]`.

Each row is a problem: `visit`, the environment's fields, `strategy, solved, text`; of traces also `outcome, num_nodes,
num_events, solution` (the actions to the goal, in order), of tokens `input_ids` and `num_tokens`. `dialect` is what
traces are written in, numbers as digits. Both files load with
`datasets.load_dataset("json" or "parquet", data_files=FILE)`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sos.datasets.read import Shards, trace_chunk
from sos.datasets.source import config_of, recipe
from sos.datasets.store import recipe_difference
from sos.envs.words import Words, words_of
from sos.errors import UserError
from sos.files import written_whole
from sos.stream.codec import decode, encode
from sos.stream.dialect.compile import Dialect, load_dialect
from sos.stream.verify import verify
from sos.system import build_env, build_system
from sos.trace import ACTION, KIND, NODE, PARENT, VALUE, Event, Outcome, Trace

Row = dict[str, Any]
Batches = Iterator[list[Row]]
# The fields of a row, in their order, and what they hold; those of the problem come after the first.
_FIRST, _THEN = {"visit": "int"}, {"strategy": "text", "solved": "bool"}
_LAST = {
    "traces": {"outcome": "text", "num_nodes": "int", "num_events": "int", "solution": "texts", "text": "text"},
    "tokens": {"num_tokens": "int", "input_ids": "tokens", "text": "text"},
}


def fields(kind: str, words: Words) -> dict[str, str]:
    """Return the fields of a row of traces or tokens, in their order, and what they hold."""
    return {**_FIRST, **words.problem_fields, **_THEN, **_LAST[kind]}


def solution_of(trace: Trace, words: Words) -> list[str]:
    """Return the actions on the way to the goal, first to last; none where the search found no goal."""
    goals = trace.events[trace.events[:, KIND] == Event.GOAL]
    node, steps = (int(goals[0, NODE]) if len(goals) else 0), []
    while node > 0:
        steps.append(words.action_record(trace.nodes[node, ACTION:]))
        node = int(trace.nodes[node, PARENT])
    return steps[::-1]


def trace_rows(shards: Shards, env: Any, dialect_name: str) -> Batches:
    """Yield the rows of each shard of traces."""
    words = words_of(env)
    dialect = load_dialect(dialect_name, env, 9)
    names = shards.manifest["labels"]["strategies"]
    for index in range(len(shards)):
        chunk = trace_chunk(shards.columns(index), 0)
        yield [
            {
                "visit": int(visit),
                **words.problem_record(trace.problem),
                "strategy": names[int(strategy)],
                "solved": trace.outcome == Outcome.SOLVED,
                "outcome": Outcome(int(trace.events[-1, VALUE])).name.lower(),
                "num_nodes": len(trace.nodes),
                "num_events": len(trace.events),
                "solution": solution_of(trace, words),
                "text": text_of(dialect, encode(dialect, trace)[0]),
            }
            for visit, strategy, trace in zip(chunk.visits, chunk.strategies, chunk.traces(), strict=True)
        ]


def token_rows(shards: Shards) -> Batches:
    """Yield the rows of each shard of tokens. Raises ValueError where the dialect now compiles to other tokens."""
    config = config_of(shards.manifest)
    system = build_system(config)
    words = words_of(system.env)
    found = recipe_difference(
        shards.manifest["recipe"], recipe(config, "tokens", shards.manifest["recipe"]["split"], system.dialect)
    )
    if found:
        raise UserError(f"{shards.folder} was made with {found[0]}={found[1]}, which is now {found[2]}")
    names = shards.manifest["labels"]["strategies"]
    for index in range(len(shards)):
        columns = shards.columns(index)
        offsets, rows = columns["offsets"], []
        for k, visit in enumerate(columns["visits"]):
            tokens = columns["tokens"][offsets[k] : offsets[k + 1]]
            trace = decode(system.dialect, system.env, tokens).trace
            rows.append(
                {
                    "visit": int(visit),
                    **words.problem_record(trace.problem),
                    "strategy": names[int(columns["strategies"][k])],
                    "solved": verify(system.env, trace).solved,
                    "num_tokens": len(tokens),
                    "input_ids": tokens.tolist(),
                    "text": text_of(system.dialect, tokens),
                }
            )
        yield rows


def text_of(dialect: Dialect, tokens: Any) -> str:
    """Return the text of a stream, without its special tokens."""
    return dialect.text(tokens[1:-1])


def write_jsonl(path: Path, columns: dict[str, str], batches: Batches) -> int:
    """Write one JSON object a line; return how many."""
    num = 0
    with open(path, "w", encoding="utf-8") as file:
        for rows in batches:
            file.writelines(json.dumps(row) + "\n" for row in rows)
            num += len(rows)
    return num


def write_parquet(path: Path, columns: dict[str, str], batches: Batches) -> int:
    """Write a row group for each shard that has rows; return the number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        "bool": pa.bool_(),
        "int": pa.int64(),
        "float": pa.float64(),
        "text": pa.string(),
        "ints": pa.list_(pa.int64()),
        "tokens": pa.list_(pa.int32()),
        "floats": pa.list_(pa.float32()),
        "texts": pa.list_(pa.string()),
    }
    schema = pa.schema([(name, types[of]) for name, of in columns.items()])
    num = 0
    with pq.ParquetWriter(path, schema) as writer:
        for rows in batches:
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema))
            num += len(rows)
    return num


WRITERS: dict[str, Callable[[Path, dict[str, str], Batches], int]] = {
    ".jsonl": write_jsonl,
    ".parquet": write_parquet,
}


def export_data(folder: Path, out: Path, dialect: str = "sos") -> int:
    """Write a complete data set into one file, whole or not at all; return the number of rows, of which there may be
    none.

    Raises UserError for a data set that is incomplete or damaged, a file name of neither kind, and a missing pyarrow.
    """
    if out.suffix not in WRITERS:
        raise UserError(f"out={out} must end in {' or '.join(WRITERS)}")
    if out.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise UserError(f'out={out}: Parquet needs pyarrow: pip install -e ".[export]"')
    shards = Shards(folder)
    env = build_env(config_of(shards.manifest))
    columns = fields(shards.kind, words_of(env))
    batches = trace_rows(shards, env, dialect) if shards.kind == "traces" else token_rows(shards)
    with written_whole(out) as partial:
        shown = tqdm(batches, total=len(shards), unit=" shards", desc=str(out))
        return WRITERS[out.suffix](partial, columns, iter(shown))
