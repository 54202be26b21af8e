"""Judge a thousand free-text answers to reasoning-gym's Countdown problems, and count where its scorer says otherwise.

Run `python tests/bench/answers_beside_gym.py --rows 1000 --out answers.jsonl` with reasoning-gym installed. The answers
are of known kinds (tests/answer_kinds.py), so that each has a true verdict. Its scorer gets what its own
`extract_answer` finds, or else the whole text; hostile answers are kept away from it, since it evaluates them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import reasoning_gym
from answer_kinds import KINDS, Problem, answers
from reasoning_gym.utils import extract_answer

from sos.interop.answers.judge import RULES, score_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="the answers as JSON lines, for `sos score`")
    options = parser.parse_args()
    gym = reasoning_gym.create_dataset("countdown", size=options.rows, seed=1)
    entries = [gym[k] for k in range(options.rows)]
    problems: list[Problem] = [
        (e["metadata"]["numbers"], e["metadata"]["target"], e["metadata"]["expression"]) for e in entries
    ]
    seen: Counter[tuple[str, str]] = Counter()
    lines = []
    for (kind, (numbers, target, text)), entry in zip(answers(problems), entries, strict=True):
        ours = score_text(text, numbers, target, RULES["rationals"])
        seen[kind, "rows"] += 1
        seen[kind, "ours"] += bool(ours.value)
        seen[kind, "false"] += bool(ours.value) != KINDS[kind].right
        if not KINDS[kind].hostile:
            asked = {**entry, "metadata": {**entry["metadata"], "numbers": numbers, "target": target}}
            theirs = gym.score_answer(extract_answer(text) or text, asked) == 1.0
            seen[kind, "theirs"] += theirs
            seen[kind, "differ"] += theirs != bool(ours.value)
            seen[kind, "unexplained"] += theirs != bool(ours.value) and not KINDS[kind].why
        lines.append(json.dumps({"nums": numbers, "target": target, "text": text, "kind": kind}))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    columns = ("rows", "ours", "theirs", "differ")
    print("| answer | rows | right: ours | theirs | differ | why |\n| --- | --- | --- | --- | --- | --- |")
    for kind, made in KINDS.items():
        counts = [str(seen[kind, name]) if not made.hostile or name[0] in "ro" else "kept away" for name in columns]
        print(f"| {kind} | {' | '.join(counts)} | {made.why if seen[kind, 'differ'] else ''} |")
    total = {
        name: sum(n for (_, part), n in seen.items() if part == name) for name in (*columns, "false", "unexplained")
    }
    print(f"\n{total}; reasoning-gym {version('reasoning-gym')}")


if __name__ == "__main__":
    main()
