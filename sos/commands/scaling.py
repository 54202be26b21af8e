"""Scaling laws of finished runs: `python -m sos.commands.scaling RUNS... [--parameters N --tokens D] [--out FILE.png]`.

The runs differ in size and training tokens, at least six of three sizes; the laws are those of `sos.analysis.scaling`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sos.analysis.compare import load_runs
from sos.analysis.scaling import fit, markdown, predict, read_points, scaling_figure
from sos.commands.cli import report
from sos.errors import UserError


def run(options: argparse.Namespace) -> None:
    """Print the fit and draw it where asked."""
    if (options.parameters is None) != (options.tokens is None):
        raise UserError("--parameters and --tokens go together")
    for name in ("parameters", "tokens"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise UserError(f"--{name} must be positive, got {value:g}")
    points = read_points(load_runs(options.runs))
    law = fit(points)
    prediction = None if options.tokens is None else predict(points, options.parameters, options.tokens)
    print(markdown(points, law, prediction))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        scaling_figure(points, law, prediction).savefig(options.out)
        print(f"wrote {options.out}")


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status: 0, or 2 for what the user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m sos.commands.scaling", description="Fit scaling laws to finished runs."
    )
    parser.add_argument("runs", nargs="+", metavar="RUNS", help="a run folder, or a folder searched for run folders")
    parser.add_argument("--parameters", type=float, metavar="N", help="predict a run of this size")
    parser.add_argument("--tokens", type=float, metavar="D", help="and so many training tokens")
    parser.add_argument("--out", type=Path, metavar="FILE", help="draw the fit into this .png or .pdf")
    options = parser.parse_args(argv)
    return report(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
