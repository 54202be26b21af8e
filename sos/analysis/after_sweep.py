"""What Hydra does when a sweep has ended: the comparison of its runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from sos.analysis.compare import compare, load_runs
from sos.analysis.tables import markdown, write


class CompareAfterMultirun(Callback):
    """A Hydra callback that ends a multirun with the comparison of its runs, printed and written into its folder."""

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        try:
            comparison = compare(load_runs([folder]))
        except ValueError as error:
            print(f"no comparison: {' '.join(str(error).split())}", file=sys.stderr)
            return
        print(f"\n{markdown(comparison)}\n")
        print("wrote " + ", ".join(map(str, write(comparison, folder))))
