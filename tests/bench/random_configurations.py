"""Try random configurations end to end beside the oracles: `python tests/bench/random_configurations.py --count 2000`."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from configurations import check, draw


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    outcomes: Counter[str] = Counter()
    start = time.perf_counter()
    for number in range(options.count):
        rng = np.random.default_rng([options.seed, number])
        configuration = draw(rng)
        try:
            outcomes[check(configuration, rng).name] += 1
        except Exception:
            outcomes["failed"] += 1
            print(f"{number}: {configuration}\n{traceback.format_exc(limit=-3)}", flush=True)
    print(f"{options.count} configurations in {time.perf_counter() - start:.0f} s: {dict(outcomes)}")
    return int(outcomes["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
