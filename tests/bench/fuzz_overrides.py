"""Random override lists: each ends in a system that is built, or in one line that names a key.

Run `python tests/bench/fuzz_overrides.py 2000 [--seed 0]`.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter

from hydra import compose as hydra_compose
from hydra import initialize_config_dir

from sos.compose import explained, known_names, plain_paths, register, to_object
from sos.config import Config
from sos.errors import UserError
from sos.schema.folders import config_folder
from sos.schema.keys import describe_keys
from sos.system import build_system, gpt_config

VALUES = [
    "0", "1", "2", "3", "-1", "7", "100", "0.5", "1e-9", "1e308", "-1e308", "inf", "-inf", "nan", "null", "true", "false",
    "''", "[]", "{}", "[1,2]", "[inf]", "{a:1}", "abc", "'a=b'", "1" + "0" * 20, str(2**64), str(2**63), "9" * 400, "1.5",
    "???", "${seed}", "${nope}", "${oc.env:NOPE}", "\\0", "../x", "dfs", "beam", "mixture", "widening", "size", "operator",
    "target", "dose", "digits", "problems", "adamw", "constant", "[val]", "[val_target,difficult]", "2147483647",
]  # fmt: skip
GROUPS = {
    "search": [
        "beam",
        "beam_paper",
        "best_first",
        "by_operator",
        "dfs_paper",
        "exhaustive",
        "paper_mixture",
        "widening",
    ],
    "stream": ["sos", "dense", "checked", "checked_dense"],
    "optim": ["adamw"],
    "env": ["countdown_paper"],
    "experiment": ["smoke", "speedrun", "paper/sos"],
    "control": ["dose_25", "direct", "redundant"],
}


def word(rng: random.Random) -> str:
    """One override: mostly a key of the schema with any value, sometimes a group, a typo or a sign."""
    kind = rng.random()
    if kind < 0.25:
        group = rng.choice(list(GROUPS))
        return f"{group}={rng.choice(GROUPS[group])}"
    key = rng.choice(describe_keys(Config))
    name = key.name
    if kind < 0.3:
        at = rng.randrange(len(name))
        name = name[:at] + rng.choice("abc_.") + name[at + 1 :]
    default = str(key.default).lower() if isinstance(key.default, bool) else str(key.default)
    plain = default if default.replace(".", "").isalnum() and key.default is not None else "null"
    value = plain if rng.random() < 0.4 else rng.choice(VALUES)
    return f"{rng.choice(['', '', '', '', '+', '++'])}{name}={value}"


def outcome(words: list[str]) -> str:
    """Return "built" or "refused". Raises whatever else comes, and AssertionError for a refusal that names no key."""
    try:
        with explained():
            typed = plain_paths(words)
            config = to_object(hydra_compose("config", overrides=typed), typed)
        system = build_system(config)
        gpt_config(config, len(system.dialect.vocab))
    except UserError as error:
        text = str(error)
        assert "\n" not in text, (words, text)
        names = {part for name in known_names() for part in (name, name.rpartition(".")[2])}
        said = {part.partition("=")[0] for part in words}
        named = any(name in text for name in names | {name.lstrip("+") for name in said})
        assert named, (words, text)
        return "refused"
    return "built"


def fuzz(num: int, seed: int) -> Counter[str]:
    """Try `num` random lists and count their outcomes."""
    register()
    counts: Counter[str] = Counter()
    rng = random.Random(seed)
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        for _ in range(num):
            words = [word(rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
            try:
                counts[outcome(words)] += 1
            except Exception as error:
                counts["failed"] += 1
                print(f"failed: {words}: {type(error).__name__}: {error}"[:500], file=sys.stderr)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lists", type=int, nargs="?", default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = fuzz(options.lists, options.seed)
    print(dict(found))
    sys.exit(found["failed"] > 0)


if __name__ == "__main__":
    main()
