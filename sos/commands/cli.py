"""The command line: `sos VERB ...`, `python -m sos VERB ...` and `python train.py ...` come here, and errors end here.

Exit status: 0; 1 where a verb found something wrong (a sweep with failed runs, an unsound table, a run that does not
repeat) or the machine failed (a full disk); 2 for what the user can mend; 130 after Ctrl-C, 143 after SIGTERM, 141
where nobody reads the output any more. What the user can mend is one line; any other error is a bug and keeps its
traceback, as all do with SOS_TRACEBACK=1.
"""

from __future__ import annotations

import codecs
import errno
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from sos.commands.verbs import Verb, find_verb, overview
from sos.errors import Failures, UserError, drop_output, one_line

# What a terminal shows that lacks our signs.
_PLAIN = {"±": "+-", "…": "...", "×": "x", "≤": "<=", "≥": ">=", "→": "->"}
_PLAIN |= dict.fromkeys("·–—−", "-")
# The machine's fault, which no other key mends.
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Terminated(BaseException):
    """SIGTERM was received: what is under way is unwound, so that nothing half-written stays."""


class Refused(BaseException):
    """Carries an error past Hydra, which would log it with the overrides and go on as if a bug had been met."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def report(command: Callable[[], int | None]) -> int:
    """Call a command and return its exit status, 0 for None; what the user can mend, and how a command is stopped, is
    one line."""
    logging.basicConfig(format="warning: %(message)s", level=logging.WARNING)
    try:
        with _terminal(), _sigterm():
            status = command() or 0
            sys.stdout.flush()
            return status
    except Failures as failures:
        print(f"\n{failures}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        return _end(str(interrupt) or "interrupted", 128 + getattr(interrupt, "signal", signal.SIGINT))
    except Terminated as end:
        return _end(str(end) or "terminated", 143)
    except Refused as refused:
        return _failed(refused.error)
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> int:
    """Say an error of the user's or of the machine in one line; raise any other, and all with SOS_TRACEBACK=1."""
    if isinstance(error, BrokenPipeError):
        drop_output()
        return 141
    status = _status(error)
    if status is None or os.environ.get("SOS_TRACEBACK") == "1":
        raise error
    if isinstance(error, OSError) and error.filename is None:
        drop_output()
    return _end(f"error: {_line(error)}", status)


def _end(line: str, status: int) -> int:
    with suppress(OSError):
        print(line, file=sys.stderr)
    return status


def _status(error: Exception) -> int | None:
    """Return the exit status of an error that is said in one line, None for a bug of ours."""
    cause = error.__cause__ if isinstance(error, UserError) else error
    if isinstance(cause, OSError) and cause.errno in _DISK_FULL:
        return 1
    if isinstance(error, OSError):
        named = error.filename is not None or str(error.strerror).startswith("cannot write")
        return 2 if named else 1 if isinstance(error, ChildProcessError) else None
    if isinstance(error, UserError):
        return 2
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return 2 if modules & {"hydra", "omegaconf"} else None


def _line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    return one_line(error)


@contextmanager
def _terminal() -> Iterator[None]:
    """Let output degrade to the signs that the terminal can show, whoever prints: an unprintable sign ends no
    command."""

    def plain(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        text = error.object[error.start : error.end]
        return "".join(_PLAIN.get(sign, "?") for sign in text), error.end

    codecs.register_error("sos.plain", plain)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="sos.plain")  # type: ignore[union-attr]
    yield


@contextmanager
def _sigterm() -> Iterator[None]:
    """Turn SIGTERM into `Terminated` in this process; a forked worker ends at once. Training puts its own handler
    over it."""
    owner = os.getpid()

    def stop(number: int, frame: Any) -> None:
        if os.getpid() != owner:
            os._exit(143)
        raise Terminated

    try:
        previous = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: whoever runs us handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


# Verbs


def call(verb: str, words: Sequence[str]) -> int:
    """Do what `sos VERB words...` says and return the exit status."""
    return report(lambda: _call(find_verb(verb), list(words)))


def _call(verb: Verb, words: list[str]) -> int | None:
    from sos.commands.words import help_of, read, taken_folders

    words, folders = taken_folders(words)
    if folders:
        from sos.schema.folders import search_also

        search_also(folders)
    module = verb.module()
    if verb.hydra:
        sys.argv[1:] = [*folders, *words]
        status: int | None = module.main()
        return status
    if {"-h", "--help"} & set(words):
        print(help_of(verb.name, verb.summary, module.Options))
        return 0
    status = module.run(read(module.Options, words))
    return status


def main(words: Sequence[str] | None = None) -> int:
    """The console script: `words` (default: the process's) are a verb and its words. Return the exit status."""
    words = sys.argv[1:] if words is None else list(words)
    if not words or words[0] in ("-h", "--help", "help"):

        def show() -> int:
            print(overview())
            return 0 if words else 2

        return report(show)
    if words[0] == "--version":
        from sos import __version__

        return report(lambda: print(__version__))
    if (
        "LOCAL_RANK" in os.environ and "=" in words[0]
    ):  # Lightning starts the other ranks of a training with its words alone
        words = ["train", *words]
    return call(words[0], words[1:])


# Verbs that Hydra runs


def is_sweep_job() -> bool:
    """Tell whether Hydra runs this job as one of a sweep."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    return not OmegaConf.is_missing(HydraConfig.get().job, "num")


@contextmanager
def refusals() -> Iterator[None]:
    """Let what is said in one line past Hydra; in a sweep it goes on to the sweeper, which lists it. Where nobody reads
    the output, both end."""
    try:
        yield
    except Exception as error:
        if isinstance(error, BrokenPipeError) or (_status(error) is not None and not is_sweep_job()):
            raise Refused(error) from error
        raise


def run_hydra(name: str, schema: type, job: Callable[[Any], Any], *registered: Callable[[], None]) -> None:
    """Let Hydra compose `name` of conf/ with the process's words and call `job`; its errors are raised, for `report`
    to say."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        from sos.commands.presets import help_text

        print(help_text(name, schema))
        return
    import hydra

    from sos.compose import explained, plain_paths, show_whole
    from sos.schema.folders import config_folder
    from sos.schema.keys import path_keys
    from sos.schema.words import refuse_nameless

    refuse_nameless(sys.argv[1:], config_folder())
    # Hydra takes the overrides in one piece only; with the flag in front, `a=1 -m b=2` is one.
    sys.argv[1:] = sorted(
        plain_paths(sys.argv[1:], path_keys(schema)), key=lambda word: word not in ("-m", "--multirun")
    )
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # let Hydra raise, so that what it says becomes one line
    for register in registered:
        register()
    if {"-c", "--cfg"} & set(sys.argv[1:]):  # what it prints is the whole config, with the keys of one environment
        typed = [word for word in sys.argv[1:] if word[:1] == "~" or ("=" in word[1:] and word[:1] != "-")]
        place = sys.argv.index(typed[0]) if typed else len(sys.argv)  # beside the others: they come in one piece
        sys.argv[place:place] = show_whole(name, schema, typed)
    with explained(schema):
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=name)(job)()
