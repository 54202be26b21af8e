"""Errors that are meant for users, and how any error is said in one line.

Whatever a user can mend is a `UserError`: the command line shows its message alone. Every other exception is a bug of
ours and keeps its traceback.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

DISTRIBUTION = "sos-pretraining"  # the name that the package is installed by; it is imported as sos
_CHECKOUT = Path(__file__).parents[1]
_LAUNCHERS = re.compile(r"hydra/launcher[=/' ]*(joblib|submitit)|hydra_(joblib|submitit)_launcher")
_EXTRAS = {"joblib": "joblib", "submitit": "slurm"}


class UserError(ValueError):
    """Something the user can mend: its message names the key or the file and the value."""


class Failures(Exception):
    """Some runs of a sweep failed; the message lists them."""


def in_checkout() -> bool:
    """Tell whether the package runs from a checkout, not as it was installed from a wheel."""
    return (_CHECKOUT / "train.py").is_file() and (_CHECKOUT / "conf" / "config.yaml").is_file()


def install_hint(extra: str) -> str:
    """Return the command that installs an extra, as this package was installed."""
    return f'pip install -e ".[{extra}]"' if in_checkout() else f'pip install "{DISTRIBUTION}[{extra}]"'


def train_words() -> list[str]:
    """Return the words that start a training here: in the folder of a checkout train.py."""
    return ["python", "train.py"] if in_checkout() and Path.cwd() == _CHECKOUT.resolve() else ["sos", "train"]


def one_line(error: BaseException) -> str:
    """Return an exception and its cause in one line; where a launcher is not installed, with the extra that holds
    it."""
    from hydra.errors import HydraException

    chain = (error, error.__cause__) if isinstance(error, HydraException) else (error,)
    parts = [str(e).partition("Config search path:")[0] for e in chain if e]
    lines = [line.strip() for part in parts for line in part.splitlines() if line.strip()]
    text = "; ".join(line for line in dict.fromkeys(lines) if "_type=" not in line)
    text = text.replace(":; ", ": ").removeprefix("In 'config': ")
    missing = _LAUNCHERS.search(text)
    if missing and isinstance(error, HydraException):
        name = missing[1] or missing[2]
        return f"the {name} launcher is not installed: {install_hint(_EXTRAS[name])} ({text.partition(';')[0]})"
    return text


def describe(error: BaseException) -> str:
    """Return an exception in one line: the message of a ValueError, which is written for users, else with its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"


def drop_output() -> None:
    """Let the interpreter end without flushing what nobody reads or no disk takes."""
    null = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(null, sys.stdout.fileno())


def visible(text: str) -> str:
    """Return text in one line, with whatever could control a terminal or reorder a line written out, such as
    `\\x1b`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(text: str, file: TextIO | None = None) -> None:
    """Print text as far as the terminal can show it, with `?` for the rest."""
    file = file or sys.stdout
    encoding = getattr(file, "encoding", None) or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), file=file)
