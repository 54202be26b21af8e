"""Damage checkpoints and try to go on with them: `python tests/bench/fuzz_checkpoints.py [--num 500] [--seed 0]`.

Each file is refused in one line that names it, or the training would go on exactly as with the whole one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from damaged_checkpoints import Door, fuzz

from sos.compose import compose
from sos.runs.folder import RunFolder
from sos.runs.provenance import Origin
from sos.train.pretrain import pretrain

TINY = (
    "experiment=smoke",
    "data.train_tokens=8000",
    "eval.num_problems=8",
    "eval.pass_k=[]",
    "trainer.probe_every=0.25",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in ("muon", "adamw"):
            config = compose([*TINY, f"optim={name}"])
            pretrain(config, folder / name, Origin(name))
            door, scratch = Door(config, folder / name), folder / "damaged.ckpt"
            counts = fuzz(door, RunFolder(folder / name).checkpoint, scratch, arguments.seed, arguments.num // 2)
            print(name, counts)


if __name__ == "__main__":
    main()
