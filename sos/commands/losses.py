"""What has a model not learned? `sos losses RUN [--split val] [--problems 400] [--by event,field,depth,after] [--top 20]`.

RUN is a run folder or a checkpoint. The teacher's streams of a split, in the run's own view and dialect, are read by the
model, and the loss of each token is put to the field of the dialect that it belongs to: the first operand of a child of the
root behind a return (`generate, a, 0, backtrack`) is the choice of the next child, `result` is arithmetic, `begin` whether to
go on or to return.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sos.commands.cli import report
from sos.data.splits import SPLITS
from sos.errors import UserError
from sos.judge.losses import KEYS, Row, losses_by_place, table

HEADER = ("tokens", "nats", "another_likelier")


def measure(path: Path, split: str, num: int, keys: Sequence[str]) -> tuple[list[Row], int]:
    """Return the rows and the number of streams: of the first `num` problems of a split those that fit the context.

    Raises ValueError that names the file or the value.
    """
    import torch

    from sos.config import config_from_dict
    from sos.datasets.source import build_source
    from sos.runs.checkpoint import load_checkpoint, load_model
    from sos.runs.folder import checkpoint_of
    from sos.system import build_system

    loaded = load_checkpoint(checkpoint_of(path))
    config = config_from_dict(loaded.config | {"data": loaded.config["data"] | {"shards": None, "num_problems": 0}})
    system = build_system(config)
    model = load_model(loaded, system).eval()
    chunk = build_source(config, system, split).chunk(0, num)
    num_streams = len(chunk.offsets) - 1
    if num_streams == 0:
        raise UserError(f"{path}: none of {num} streams of {split} fits data.context={config.data.context}")

    def streams() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for start, stop in tqdm(
            zip(chunk.offsets[:-1], chunk.offsets[1:], strict=True), total=num_streams, leave=False
        ):
            tokens = chunk.tokens[start:stop].astype(np.int64)
            ids = torch.from_numpy(tokens)[None]
            with torch.inference_mode():
                logprobs = model(ids)[0, :-1].log_softmax(-1)
            nats = -logprobs.gather(1, ids[0, 1:, None])[:, 0]
            # The first token is given.
            yield tokens, np.append(0, nats.numpy()), np.append(tokens[0], logprobs.argmax(-1).numpy())

    return losses_by_place(system.dialect, system.env, streams(), keys), num_streams


def run(options: argparse.Namespace) -> None:
    """Print the table, and write all rows where asked. Raises ValueError in one line."""
    keys = options.by.split(",")
    if unknown := [key for key in keys if key not in KEYS]:
        raise UserError(f"--by takes some of {','.join(KEYS)}, got {unknown[0]!r}")
    if min(options.problems, options.top) < 1:
        raise UserError(f"--problems and --top must be at least 1, got {options.problems} and {options.top}")
    rows, num = measure(Path(options.run), options.split, options.problems, keys)
    print(f"{options.run}: {num} streams of {options.split}\n\n{table(rows, keys, num, options.top)}")
    if options.out:
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        with open(options.out, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([[*keys, *HEADER], *([*row.place, row.tokens, row.nats, row.others] for row in rows)])
        print(f"\nwrote {options.out}")


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status: 0, or 2 for what the user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m sos.commands.losses", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help="a run folder or a checkpoint")
    parser.add_argument("--split", default="val", choices=SPLITS, help="whose problems (default: val)")
    parser.add_argument("--problems", type=int, default=400, metavar="N", help="how many of them (default: 400)")
    parser.add_argument("--by", default=",".join(KEYS), help=f"what to group by (default: {','.join(KEYS)})")
    parser.add_argument("--top", type=int, default=20, metavar="N", help="rows to print (default: 20)")
    parser.add_argument("--out", metavar="FILE", help="write all rows as CSV")
    options = parser.parse_args(argv)
    return report(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
