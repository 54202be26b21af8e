"""`sos export RUN` or `sos export DATASET`: what other tools read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sos.commands.output import check_out
from sos.commands.words import option, places
from sos.errors import UserError


@dataclass
class Options:
    """A run or a checkpoint becomes a folder that AutoModelForCausalLM and AutoTokenizer read: a Llama, or a Qwen3
    for model.qk_norm=true. A data set becomes one file, a row a problem: visit, what the environment says of the
    problem, strategy, solved, text; of traces also outcome, num_nodes, num_events, solution, of tokens input_ids and
    num_tokens. columns=prompt and chat are what TRL's SFTTrainer and GRPOTrainer read, columns=verl what verl reads.
    Needs the extra `export`."""

    place: list[str] = places("PLACE", "a run folder, a checkpoint, or the folder of a data set", most=1)
    out: str = option(..., "a new folder for a model; FILE.jsonl or FILE.parquet for a data set")
    dialect: str | None = option(None, "what traces of a data set are written in, numbers as digits; null: sos")
    columns: str = option("rows", "the columns of a data set", choices=("rows", "prompt", "chat", "verl"))


def run(options: Options) -> None:
    """Export what lies at the place."""
    place, out = Path(options.place[0]), Path(options.out)
    is_data = (place / "manifest.json").is_file()
    check_out(options.out, folder=not is_data)
    if is_data:
        from sos.interop.datasets import export_data

        num = export_data(place, out, options.dialect or "sos", options.columns)
        print(f"wrote {num} rows to {out}")
        return
    if options.dialect is not None:
        raise UserError(f"dialect={options.dialect} is for data sets, and {place} is none")
    if options.columns != "rows":
        raise UserError(f"columns={options.columns} is for data sets, and {place} is none")
    from sos.interop.model_folder import export_run

    export_run(place, out)
    print(f"wrote {out}")
