"""Compare `verify` with the naive oracle on searches and damaged copies of them, event for event.

Run `python tests/bench/verify_agreement.py --traces 100000`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from damaged_streams import damaged
from drivers import all_envs, all_searches, random_problem, run_search
from naive import verify as naive_verify

from sos.stream.verify import Error, verify


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nodes", type=int, default=12, help="budget of each search")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    cases = [
        (env, strategy._replace(max_nodes=options.nodes)) for _, env in all_envs() for _, strategy in all_searches()
    ]
    start = time.perf_counter()
    agreed = solved = clean = 0
    events = 0
    kinds: Counter[str] = Counter()
    for k in range(options.traces):
        if k % 10 == 0:
            env, strategy = cases[rng.integers(len(cases))]
            trace = original = run_search(strategy, env, random_problem(rng, env))
        else:
            trace = damaged(rng, original)
        verdict = verify(env, trace)
        codes = verdict.errors.tolist()
        agreed += naive_verify.verify(env, trace) == (verdict.solved, codes)
        solved += verdict.solved
        clean += not any(codes)
        events += len(codes)
        kinds.update(Error(code).name for code in codes if code)
    print(f"traces {options.traces}, events {events}, {time.perf_counter() - start:.0f} s")
    print(f"agreed {agreed} ({agreed / options.traces:.4%}), solved {solved}, without an error {clean}")
    print(", ".join(f"{name} {count}" for name, count in kinds.most_common()))
    sys.exit(agreed != options.traces)


if __name__ == "__main__":
    main()
