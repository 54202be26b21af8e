"""Fuzz `decode` and `verify` with damaged and random token arrays, and count what goes wrong.

Run `python tests/bench/fuzz.py --arrays 1000000 --seed 1`. Every array that verification calls solved, and a random part of the
others, is judged twice more: by the naive replay of the decoded trace, and by a reader of the text that knows no decoder.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from drivers import damage, judged_text, small_streams
from naive import text as naive_text
from naive import verify as naive_verify

from sos.envs.countdown.rules import Countdown
from sos.stream.codec import DecodeStatus
from sos.stream.dialect.compile import load_dialect
from sos.stream.verify import verify_tokens

JUDGED = 0.02  # of the arrays that are not solved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arrays", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    cases = []
    for name, judge in naive_text.JUDGES.items():
        for env in (Countdown(num_numbers=3, max_number=20, max_target=40), Countdown(max_number=12, max_target=30)):
            for whole_max, plan in ((9, False), (99, False), (99, True)):
                dialect = load_dialect(name, env, whole_max, plan)
                cases.append((dialect, env, judge, small_streams(dialect, env, rng, 200)))
    single = Countdown(num_numbers=3, max_number=20, max_target=40, max_value=200)
    dialect = load_dialect("compact", single, 200)
    cases.append((dialect, single, naive_text.solves_compact, small_streams(dialect, single, rng, 200)))

    counts: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    start = time.perf_counter()
    for _ in range(options.arrays):
        dialect, env, judge, streams = cases[rng.integers(len(cases))]
        problem, tokens = streams[rng.integers(len(streams))]
        tokens = damage(rng, tokens, len(dialect.vocab))
        try:
            verdict, trace, align = verify_tokens(dialect, env, problem, tokens)
        except Exception:
            counts["exceptions"] += 1
            traceback.print_exc()
            continue
        statuses[DecodeStatus(verdict.status).name] += 1
        counts["solved"] += verdict.solved
        counts["position out of range"] += len(align) > len(tokens)
        counts["align out of range"] += bool(len(align)) and not -1 <= align.min() <= align.max() < len(trace.events)
        if not verdict.solved and rng.random() > JUDGED:
            continue
        counts["judged"] += 1
        solved, codes = naive_verify.verify(env, trace)
        same = np.array_equal(trace.problem, problem)
        counts["plans that differ"] += verdict.planned != (same and naive_verify.plan_is_valid(env, trace))
        counts["right plans"] += verdict.planned
        solved = solved and same
        text_solved = judge(judged_text(dialect, tokens), problem[2:].tolist(), int(problem[0]), env.max_value)
        counts["solved but rejected by the oracle"] += verdict.solved and not solved
        counts["solved but rejected by the judge of text"] += verdict.solved and not text_solved
        counts["not solved but accepted by the oracle"] += solved and not verdict.solved
        counts["not solved but accepted by the judge of text"] += (
            text_solved and not verdict.solved
        )  # joins digits, needs no commas
        counts["error codes differ"] += verdict.errors.tolist() != codes
    print(f"arrays {options.arrays}, seed {options.seed}, {time.perf_counter() - start:.0f} s")
    for name in sorted(counts, key=lambda name: -counts[name]):
        print(f"{counts[name]:9} {name}")
    print("exceptions", counts["exceptions"], "; statuses", dict(statuses.most_common()))
    wrong = (
        "exceptions",
        "solved but rejected by the oracle",
        "solved but rejected by the judge of text",
        "error codes differ",
        "plans that differ",
    )
    sys.exit(any(counts[name] for name in wrong))


if __name__ == "__main__":
    main()
