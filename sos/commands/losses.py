"""`sos losses RUN`: what a model has not learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sos.commands.output import check_out, write_csv
from sos.commands.words import option, places
from sos.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from sos.judge.losses import Row

SPLITS = ("train", "val", "val_target")
BY = ("event", "field", "depth", "after")
HEADER = ("tokens", "nats", "another_likelier")


@dataclass
class Options:
    """The teacher's streams of a split, in the run's own view and dialect, are read by the model, and the loss of
    each token is put to the field of the dialect that it belongs to: the first field of a child of the root behind a
    return (generate, a, 0, backtrack) is the choice of the next child, result is arithmetic, begin whether to go on
    or to return."""

    run: list[str] = places("RUN", "a run folder or a checkpoint", most=1)
    split: str = option("val", "whose problems", choices=SPLITS)
    problems: int = option(400, "how many of them", low=1)
    by: list[str] = option(list(BY), "what to group by, some of the default")
    top: int = option(20, "rows to print", low=1)
    out: str | None = option(None, "write all rows into this CSV file")


def measure(path: Path, split: str, num: int, keys: Sequence[str]) -> tuple[list[Row], int]:
    """Return the rows and the number of streams: of the first `num` problems of a split those that fit the context.

    Raises ValueError that names the file or the value.
    """
    import numpy as np
    import torch
    from tqdm import tqdm

    from sos.datasets.source import build_source
    from sos.judge.losses import losses_by_place
    from sos.model.cpu.threads import one_torch_thread
    from sos.runs.checkpoint import config_of, load_checkpoint, load_model, system_of
    from sos.runs.folder import checkpoint_of

    loaded = load_checkpoint(checkpoint_of(path))
    recorded = config_of(loaded)
    config = replace(recorded, data=replace(recorded.data, shards=None, num_problems=0))
    config.stream.check_whole(str(path), "losses are told of whole ones")
    system = system_of(loaded, config)
    model = load_model(loaded, system).eval()
    chunk = build_source(config, system, split).chunk(0, num)
    num_streams = len(chunk.offsets) - 1
    if num_streams == 0:
        raise UserError(f"{path}: none of {num} streams of {split} fits data.context={config.data.context}")

    def streams() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        ends = zip(chunk.offsets[:-1], chunk.offsets[1:], strict=True)
        for start, stop in tqdm(ends, total=num_streams, unit="streams", leave=False):
            tokens = chunk.tokens[start:stop].astype(np.int64)
            ids = torch.from_numpy(tokens)[None]
            with torch.inference_mode():
                logprobs = model(ids)[0, :-1].log_softmax(-1)
            nats = -logprobs.gather(1, ids[0, 1:, None])[:, 0]
            # The first token is given.
            yield tokens, np.append(0, nats.numpy()), np.append(tokens[0], logprobs.argmax(-1).numpy())

    with one_torch_thread():  # rows this short gain nothing from a second one, which spins on a busy machine
        return losses_by_place(system.dialect, system.env, streams(), keys), num_streams


def run(options: Options) -> None:
    """Print the table, and write all rows where asked."""
    if not options.by or (unknown := [name for name in options.by if name not in BY]):
        raise UserError(
            f"by takes some of {','.join(BY)}, got {unknown[0]!r}" if options.by else "by=[] groups by nothing"
        )
    check_out(options.out, inputs=options.run)
    from sos.judge.losses import table

    place = options.run[0]
    rows, num = measure(Path(place), options.split, options.problems, options.by)
    print(f"{place}: {num} streams of {options.split}\n\n{table(rows, options.by, num, options.top)}\n")
    if options.out:
        lines = [[*row.place, row.tokens, row.nats, row.others] for row in rows]
        write_csv(options.out, [[*options.by, *HEADER], *lines])
