"""A data set as JSON lines or Parquet: `sos export FOLDER out=FILE.jsonl` (or `.parquet`) `[dialect=sos]`
`[columns=rows]`.

Each row is a problem: `visit`, the environment's fields, `strategy, solved, text`; of traces also `outcome, num_nodes,
num_events, solution` (the actions to the goal, in order), of tokens `input_ids` and `num_tokens`. `dialect` is what
traces are written in, numbers as digits. Other `columns` are those of `sos.interop.columns`. Both files load with
`datasets.load_dataset("json" or "parquet", data_files=FILE)`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from sos.datasets.read import Shards, trace_chunk
from sos.datasets.source import config_of, recipe
from sos.datasets.store import recipe_difference
from sos.envs.protocol import root_state
from sos.envs.words import Words, words_of
from sos.errors import UserError, install_hint
from sos.files import written_whole
from sos.interop.columns import FORMS, Kind, Texts, columns_of, in_form
from sos.stream.codec import decode, encode
from sos.stream.dialect.compile import Dialect, load_dialect
from sos.stream.verify import verify
from sos.system import build_env, build_system
from sos.trace import ACTION, KIND, NODE, PARENT, VALUE, Event, Outcome, Trace

Row = dict[str, Any]
Batches = Iterator[list[Row]]
# The fields of a row, in their order, and what they hold; those of the problem come after the first.
_FIRST: dict[str, Kind] = {"visit": "int"}
_LAST: dict[str, dict[str, Kind]] = {
    "traces": {"outcome": "text", "num_nodes": "int", "num_events": "int", "solution": "texts", "text": "text"},
    "tokens": {"num_tokens": "int", "input_ids": "tokens", "text": "text"},
}


def fields(kind: str, words: Words, form: str = "rows") -> dict[str, Kind]:
    """Return the fields of a row of traces or tokens, in their order, and what they hold."""
    return columns_of(form, words, _FIRST, _LAST[kind])


def solution_of(trace: Trace, words: Words) -> list[str]:
    """Return the actions on the way to the goal, first to last; none where the search found no goal."""
    goals = trace.events[trace.events[:, KIND] == Event.GOAL]
    node, steps = (int(goals[0, NODE]) if len(goals) else 0), []
    while node > 0:
        steps.append(words.action_record(trace.nodes[node, ACTION:]))
        node = int(trace.nodes[node, PARENT])
    return steps[::-1]


class Exported(NamedTuple):
    """A problem that is exported, before it has a form."""

    shards: Shards
    words: Words
    dialect: Dialect
    form: str

    def row(self, visit: int, strategy: int, trace: Trace, solved: bool, stream: tuple[Any, int], last: Row) -> Row:
        """Return a row of a problem; `stream` is its tokens and how many state the problem, `last` what only
        `rows` have."""
        name = self.shards.manifest["labels"]["strategies"][strategy]
        problem = self.words.problem_record(trace.problem)
        if self.form == "rows":
            text = text_of(self.dialect, stream[0])
            return {"visit": visit, **problem, "strategy": name, "solved": solved, **last, "text": text}
        about = {"visit": visit, "problem": problem, "strategy": name, "solved": solved}
        about["solution"] = solution_of(trace, self.words)
        tokens, num = stream
        root = np.zeros(self.words.env.state_width, np.int32)
        root_state(self.words.env, trace.problem, root)
        task = self.words.task_text(trace.problem, root)
        blank = " " if self.dialect.vocab.spaced else ""  # else two could become one
        prompt, rest = self.dialect.text(tokens[1:num]), self.dialect.text(tokens[num:-1])
        texts = Texts(prompt, blank + rest, text_of(self.dialect, tokens))
        return in_form(self.form, about, texts, task, self.shards.manifest["recipe"]["split"])


def trace_rows(shards: Shards, env: Any, dialect_name: str, form: str = "rows") -> Batches:
    """Yield the rows of each shard of traces."""
    words = words_of(env)
    dialect = load_dialect(dialect_name, env, 9)
    exported = Exported(shards, words, dialect, form)
    for index in range(len(shards)):
        chunk = trace_chunk(shards.columns(index), 0)
        rows = []
        for visit, strategy, trace in zip(chunk.visits, chunk.strategies, chunk.traces(), strict=True):
            tokens, _, prompt = encode(dialect, trace)
            last = {
                "outcome": Outcome(int(trace.events[-1, VALUE])).name.lower(),
                "num_nodes": len(trace.nodes),
                "num_events": len(trace.events),
                "solution": solution_of(trace, words),
            }
            solved = trace.outcome == Outcome.SOLVED
            rows.append(exported.row(int(visit), int(strategy), trace, solved, (tokens, prompt), last))
        yield rows


def token_rows(shards: Shards, form: str = "rows") -> Batches:
    """Yield the rows of each shard of tokens. Raises ValueError where the dialect now compiles to other tokens."""
    config = config_of(shards.manifest)
    system = build_system(config)
    words = words_of(system.env)
    found = recipe_difference(
        shards.manifest["recipe"], recipe(config, "tokens", shards.manifest["recipe"]["split"], system.dialect)
    )
    if found:
        raise UserError(f"{shards.folder} was made with {found[0]}={found[1]}, which is now {found[2]}")
    exported = Exported(shards, words, system.dialect, form)
    for index in range(len(shards)):
        columns = shards.columns(index)
        offsets, rows = columns["offsets"], []
        for k, visit in enumerate(columns["visits"]):
            tokens = columns["tokens"][offsets[k] : offsets[k + 1]]
            trace = decode(system.dialect, system.env, tokens).trace
            solved = verify(system.env, trace).solved
            prompt = int(columns["prompts"][k]) if form != "rows" else 0
            last = {"num_tokens": len(tokens), "input_ids": tokens.tolist()}
            strategy = int(columns["strategies"][k])
            rows.append(exported.row(int(visit), strategy, trace, solved, (tokens, prompt), last))
        yield rows


def text_of(dialect: Dialect, tokens: Any) -> str:
    """Return the text of a stream, without its special tokens."""
    return dialect.text(tokens[1:-1])


def write_jsonl(path: Path, columns: dict[str, Kind], batches: Batches) -> int:
    """Write one JSON object a line; return how many."""
    num = 0
    with open(path, "w", encoding="utf-8") as file:
        for rows in batches:
            file.writelines(json.dumps(row) + "\n" for row in rows)
            num += len(rows)
    return num


def write_parquet(path: Path, columns: dict[str, Kind], batches: Batches) -> int:
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

    def typed(of: Kind) -> Any:
        if isinstance(of, list):
            return pa.list_(typed(of[0]))
        return types[of] if isinstance(of, str) else pa.struct([(name, typed(inner)) for name, inner in of.items()])

    schema = pa.schema([(name, typed(of)) for name, of in columns.items()])
    num = 0
    with pq.ParquetWriter(path, schema) as writer:
        for rows in batches:
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema))
            num += len(rows)
    return num


WRITERS: dict[str, Callable[[Path, dict[str, Kind], Batches], int]] = {
    ".jsonl": write_jsonl,
    ".parquet": write_parquet,
}


def export_data(folder: Path, out: Path, dialect: str = "sos", form: str = "rows") -> int:
    """Write a complete data set into one file, whole or not at all, with the columns of a form; return the number of
    rows, of which there may be none.

    Raises UserError for a data set that is incomplete or damaged, a file name of neither kind, an unknown form, and a
    missing pyarrow.
    """
    if form not in FORMS:
        raise UserError(f"columns must be one of {', '.join(FORMS)}, got {form}")
    if out.suffix not in WRITERS:
        raise UserError(f"out={out} must end in {' or '.join(WRITERS)}")
    if out.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise UserError(f"out={out}: Parquet needs pyarrow: {install_hint('parquet')}")
    shards = Shards(folder)
    env = build_env(config_of(shards.manifest))
    columns = fields(shards.kind, words_of(env), form)
    batches = trace_rows(shards, env, dialect, form) if shards.kind == "traces" else token_rows(shards, form)
    with written_whole(out) as partial:
        shown = tqdm(batches, total=len(shards), unit=" shards", desc=str(out))
        return WRITERS[out.suffix](partial, columns, iter(shown))
