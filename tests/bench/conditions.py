"""Every verb in bad surroundings: `python tests/bench/conditions.py [VERB...] [--points 2] [--jobs 1]`, twenty minutes.

It prints a table, verb by condition, then what failed, and ends with status 1 if anything did. The signals come in the
midst of the work and at `--points` calls, evenly over all calls of functions of the package that a verb makes.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from conditions import CASES, CONDITIONS, Places, makes_sense, signalled, stopped_by

COLUMNS = (*CONDITIONS, "SIGINT", "SIGTERM")


def stops(name: str, places: Places, root: Path, points: int) -> Iterator[str]:
    """Yield for each of the two signals what is wrong with how the verb ends."""
    (root / "whole").mkdir()
    whole = signalled(CASES[name], places, root / "whole", 0, "none")
    found = re.search(r"calls (\d+)", whole.stderr)
    calls = int(found[1]) if found else 0
    at = ["", *(str(calls * number // (points + 1)) for number in range(1, points + 1) if calls)]
    for number in (signal.SIGINT, signal.SIGTERM):
        wrong = [] if calls else [f"without a signal: {whole.stderr[-1500:]}"]
        for place in at:
            tmp = root / f"{number}-{place}"
            tmp.mkdir()
            if complaint := stopped_by(number, name, places, tmp, place):
                wrong.append(f"at {place or 'its midst'} of {calls}: {complaint}")
        yield "\n".join(wrong)


def row(name: str, places: Places, points: int) -> list[str | None]:
    """Return what is wrong with a verb in each condition; None where the condition makes no sense for it."""
    home = places.root / f"of {name}".replace(" ", "_")
    home.mkdir()
    found: list[str | None] = []
    for number, (condition, meet) in enumerate(CONDITIONS.items()):
        tmp = home / str(number)
        tmp.mkdir()
        found.append(meet(CASES[name], places, tmp) if makes_sense(condition, name) else None)
    return [*found, *stops(name, places, home, points)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verbs", nargs="*", default=list(CASES))
    parser.add_argument("--points", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    failures, num = [], 0
    print(f"{'':<11}" + "".join(f"{column:<18}" for column in COLUMNS), flush=True)
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(arguments.jobs) as pool:
        places = Places(Path(place))
        rows = pool.map(lambda name: row(name, places, arguments.points), arguments.verbs)
        for name, found in zip(arguments.verbs, rows, strict=True):
            said = ["-" if complaint is None else "failed" if complaint else "ok" for complaint in found]
            print(f"{name:<11}" + "".join(f"{word:<18}" for word in said), flush=True)
            num += sum(complaint is not None for complaint in found)
            failures += [f"{name}, {COLUMNS[i]}: {complaint}" for i, complaint in enumerate(found) if complaint]
    print("\n\n".join([f"\n{num} of verbs and conditions, {len(failures)} failed", *failures]))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
