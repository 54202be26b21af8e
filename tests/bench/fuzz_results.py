"""Damage the files of a finished run and read them: `python tests/bench/fuzz_results.py [--num 800] [--seed 0]`.

The view, the alignment, the comparison and the doctor each refuse the run in one line, or read what its files say.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from damaged_results import fuzz


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        print(fuzz(Path(place), arguments.seed, arguments.num))


if __name__ == "__main__":
    main()
