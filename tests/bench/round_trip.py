"""Try all combinations of views, searches, dialects, tasks and number codings: what is written reads back.

Run `python tests/bench/round_trip.py [--problems 2]`. Prints the number of streams tried; stops at the first mistake.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from round_trips import all_combinations, check


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=2, help="of each combination")
    options = parser.parse_args()
    tried = 0
    for case in all_combinations():
        for number in range(options.problems):
            check(case, number, options.problems)
            tried += 1
    print(f"{tried} streams read back")


if __name__ == "__main__":
    main()
