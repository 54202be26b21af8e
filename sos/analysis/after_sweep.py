"""What Hydra does when a sweep has ended: the comparison of its runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from sos.analysis.compare import load_runs
from sos.analysis.tasks import compare_tasks, markdown, write_tasks
from sos.errors import UserError, drop_output, one_line, say


class CompareAfterMultirun(Callback):
    """A Hydra callback that ends a multirun with the comparison of its runs, written into its folder and printed.

    Without a comparison it ends the process with status 1 and says why.
    """

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        try:
            tasks = compare_tasks(load_runs([folder]))
            paths = write_tasks(tasks, folder)
        except (UserError, OSError) as error:
            say(f"no comparison: {one_line(error)}", sys.stderr)
            # Hydra lets no other exception of a callback out.
            sys.exit(1)
        try:
            say(f"\n{markdown(tasks)}\n")
            say("wrote " + ", ".join(map(str, paths)))
            sys.stdout.flush()
        except BrokenPipeError:
            drop_output()
            sys.exit(141)
