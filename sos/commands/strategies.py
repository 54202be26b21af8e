"""`sos strategies`: the published twelve strategies on the problems of a split."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from sos.commands.output import check_out, write_csv
from sos.commands.words import TRAIN_ROOTS, configs, option
from sos.errors import UserError


@dataclass
class Options:
    """Solve rates with 95% intervals, and the means of nodes and tokens of their whole searches. env and stream are the
    paper's unless given: env.descending=true, stream=compact. The strategies are for the paper's environment alone;
    `sos teachers` takes any. Splits: eval.splits=[val]."""

    problems: int = option(1000, "how many of each split", low=1)
    out: str | None = option(None, "write the table into this CSV file")
    overrides: list[str] = configs(TRAIN_ROOTS, "what the problems and streams are")


def run(options: Options) -> None:
    """Print the table and write it where asked."""
    check_out(options.out)
    from sos.compose import compose
    from sos.judge.problems import split_problems
    from sos.published.strategies import PAPER, as_lines, as_text, solve_table
    from sos.system import build_system

    config = compose([*PAPER, *options.overrides])
    system = build_system(config)
    problems = {}
    for split in config.eval.splits:
        problems[split] = split_problems(system, split, options.problems, seed=config.eval.seed)
        if len(problems[split]) < options.problems:
            print(f"warning: split {split}: {len(problems[split])} distinct problems found", file=sys.stderr)
        if not len(problems[split]):
            del problems[split]
    if not problems:
        raise UserError(f"eval.splits={config.eval.splits}: no problem found")
    rows = solve_table(system, problems)
    print(as_text(rows))
    if options.out:
        write_csv(options.out, as_lines(rows))
