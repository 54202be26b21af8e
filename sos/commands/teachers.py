"""`sos teachers`: which share of solvable problems a search solves within a context, per search and dialect."""

from __future__ import annotations

from dataclasses import dataclass

from sos.commands.words import configs, option


@dataclass
class Options:
    """A stream counts when its search is solved and all of it fits the context. The searches are those that solve
    every problem, given room: depth-first, and widening where the environment has it, in every order, with what they
    can leave out. `sos strategies` is the like for the published twelve."""

    problems: int = option(1000, "how many problems", low=1)
    dialects: list[str] = option([], "the dialects, by default all that are shipped for the environment")
    erased: bool = option(False, "of env=sat the published words too, whole and with finished calls erased")
    overrides: list[str] = configs(("env",), "which problems; values with commas make a table each: env.num_arms=3,4")


def run(options: Options) -> None:
    """Print a table for each environment."""
    from sos.compose import combinations, compose
    from sos.judge.teachers import cover, streams, table, teachers
    from sos.published.erasing import erased_rows
    from sos.system import build_env

    for words, _ in combinations(options.overrides):
        config = compose(words)
        env = build_env(config)
        named = teachers(config)
        erased = erased_rows(env, options.problems, named) if options.erased else []
        rows = [*cover(env, options.problems, named, streams(env, options.dialects)), *erased]
        print(table(f"{env.describe()}, {options.problems} solvable problems, %", rows), flush=True)
