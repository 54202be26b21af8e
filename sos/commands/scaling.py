"""`sos scaling RUNS...`: laws of size and tokens of finished runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sos.commands.output import check_out
from sos.commands.words import option, places
from sos.errors import UserError
from sos.files import written_whole


@dataclass
class Options:
    """The runs differ in size and training tokens, at least six of three sizes."""

    runs: list[str] = places("RUNS", "run folders, folders searched for run folders, or LABEL=FOLDER", labels=True)
    parameters: float | None = option(None, "predict a run of this size, such as 22e6")
    tokens: float | None = option(None, "and so many training tokens")
    out: str | None = option(None, "draw the fit into this .png or .pdf")


def run(options: Options) -> None:
    """Print the fit and draw it where asked."""
    if (options.parameters is None) != (options.tokens is None):
        raise UserError("parameters and tokens go together")
    for name in ("parameters", "tokens"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise UserError(f"{name} must be positive, got {value:g}")
    check_out(options.out, inputs=options.runs)
    if options.out and Path(options.out).suffix not in (".png", ".pdf"):
        raise UserError(f"out={options.out} must end in .png or .pdf")
    from sos.analysis.compare import load_runs
    from sos.analysis.scaling import fit, markdown, predict, read_points, scaling_figure

    points = read_points(load_runs(options.runs))
    law = fit(points)
    prediction = None
    if options.parameters is not None and options.tokens is not None:
        prediction = predict(points, options.parameters, options.tokens)
    print(markdown(points, law, prediction))
    if options.out:
        figure = scaling_figure(points, law, prediction)
        with written_whole(options.out) as partial:
            figure.savefig(partial, format=Path(options.out).suffix[1:])
        print(f"wrote {options.out}")
