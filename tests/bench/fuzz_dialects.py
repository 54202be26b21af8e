"""Try random dialects: each is refused in one line, or every trace that it can write reads back.

Run `python tests/bench/fuzz_dialects.py [--dialects 1000] [--seed 0]`. Prints how often each outcome came; stops at the first mistake.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from dialect_fuzz import try_many


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dialects", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(dict(try_many(options.dialects, options.seed)))


if __name__ == "__main__":
    main()
