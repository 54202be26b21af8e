"""Command lines on top of Hydra: whatever a user can mend is one line and exit status 2."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sos.errors import Failures, one_line


def report(command: Callable[[], int | None]) -> int:
    """Call a command without Hydra and return its exit status, 0 for None; a ValueError or OSError is one line and status 2."""
    logging.basicConfig(format="warning: %(message)s", level=logging.WARNING)
    try:
        return command() or 0
    except (ValueError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2


def report_keyed(command: Callable[[Sequence[str]], None], help_text: str | None, words: Sequence[str] | None) -> int:
    """Call a command with its `key=value` words (None: the process's) as `report` does; -h prints the help instead."""
    words = sys.argv[1:] if words is None else words
    if {"-h", "--help"} & set(words):
        print(help_text)
        return 0
    return report(lambda: command(words))


def is_sweep_job() -> bool:
    """Tell whether Hydra runs this job as one of a sweep."""
    return not OmegaConf.is_missing(HydraConfig.get().job, "num")


@contextmanager
def refusals() -> Iterator[None]:
    """Turn a ValueError into one line and exit status 2; in a sweep it goes on to the sweeper, which lists it."""
    try:
        yield
    except ValueError as error:
        if is_sweep_job():
            raise
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)


def run(main: Callable[[], Any]) -> int:
    """Call a `hydra.main` function and return the exit status: 0, 1 if runs of a sweep failed, 2 for bad input, 130 after Ctrl-C."""
    # Hydra takes the overrides in one piece only; with the flag in front, `a=1 -m b=2` is one.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # let Hydra raise, so that what it says becomes one line
    try:
        main()
    except (
        HydraException,
        OmegaConfBaseException,
        ValueError,
        PermissionError,
        NotADirectoryError,
        FileExistsError,
    ) as e:
        print(f"error: {one_line(e)}", file=sys.stderr)
        return 2
    except Failures as failures:
        print(f"\n{failures}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print(interrupt or "interrupted", file=sys.stderr)
        return 130
    return 0
