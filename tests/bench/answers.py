"""Judge hostile texts of two sizes and print the ratio of the times, and fuzz the reader of answers.

Run `python tests/bench/answers.py --characters 200000 --texts 200000`. A ratio near 10 is linear time.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile_texts import long_texts, random_text

from sos.interop.answers.judge import score_text


def seconds(text: str) -> float:
    start = time.process_time()
    for made in (text, f"<answer>{text}</answer>", f"\\boxed{{{text}}}"):
        score_text(made, [3, 4], 7)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--characters", type=int, default=200_000)
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    worst = 0.0
    for name in long_texts(100):
        small, large = (seconds(long_texts(n)[name]) for n in (options.characters // 10, options.characters))
        worst = max(worst, large / small)
        print(f"{name:32} {small:8.3f} s {large:8.3f} s  x {large / small:5.1f}", flush=True)
    print(f"the largest ratio for 10 times the length: {worst:.1f}")
    rng = random.Random(options.seed)
    seen: Counter[str] = Counter()
    start = time.process_time()
    for _ in range(options.texts):
        seen[score_text(random_text(rng), [3, 4, 5], rng.choice([7, 12, 8])).reason] += 1
    took = time.process_time() - start
    print(f"{seen.total()} random texts in {took:.0f} s, none raised: {dict(seen.most_common())}")


if __name__ == "__main__":
    main()
