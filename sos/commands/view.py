"""Look at searches: `python -m sos.commands.view SOURCE [key=value ...] [out=trace.html]` writes one HTML page that works offline.

SOURCE is one of

  problem=[47,2,17,15]          a search for the target (first) from the numbers
  split=val index=3             a search for problem 3 of a split, numbered as in evaluations and in training
  rollout=RUN index=3           what the model of a run folder wrote on problem 3 (of split=val), and the teacher's search
                                for it (teacher=false: without); a folder of runs shows the model of each
  checkpoint=PATH problem=[...] a model's greedy rollout on a problem of your own (or on split=... index=...), and the teacher's
  traces=FILE index=3           trace 3 of a file of traces (python -m sos.commands.convert import makes one of published records)
  shard=FOLDER index=3          trace or stream 3 of a data set (python -m sos.commands.generate)
  tokens=FILE                   streams as integers, one stream per line; problem=[...] judges them as its answers
  text=FILE                     one stream as text; <bos> and <eos> are added where it has none

The other keys are those of train.py (env, search, stream.view, stream.dialect, ...; see conf/). Values with commas, here and for
index, make one trace each, all in one page with a selector: `search=dfs,dfs_paper stream.view=full,solution_path index=0,1`. With
rollout or checkpoint the run says what env and dialect are, and only search keys, the teacher's, can be given.
`title` is the page's heading, `device` where a checkpoint runs.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from sos.commands.cli import report_keyed
from sos.errors import UserError
from sos.files import written_whole
from sos.stream.dialect.compile import Dialect
from sos.view.page import TraceStream, build_page, trace_data

KEYS = (
    "problem", "split", "index", "rollout", "checkpoint", "traces", "shard", "tokens", "text", "teacher", "title", "device", "out",
)  # fmt: skip
SOURCES = ("rollout", "checkpoint", "traces", "shard", "tokens", "text")
MAX_TRACES = 64
log = logging.getLogger(__name__)


def parse(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return (this command's own keys, the overrides of the config). Raises ValueError for what is not `key=value`."""
    options: dict[str, str] = {}
    overrides: list[str] = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not value:
            raise UserError(f"arguments are key=value, got {argument!r}")
        if key not in KEYS:
            overrides.append(argument)
        elif key in options:
            raise UserError(f"{key} is given twice: {options[key]} and {value}")
        else:
            options[key] = value
    given = [key for key in SOURCES if key in options]
    if len(given) > 1:
        raise UserError(f"{given[0]} and {given[1]} are two sources; give one")
    if not given and not {"problem", "split"} & options.keys():
        raise UserError(f"nothing to show: give problem=[target,numbers...], split=..., or one of {', '.join(SOURCES)}")
    if "problem" in options and {"split", "index"} & options.keys():
        raise UserError("problem and split/index both name the problem; give one")
    return options, overrides


def build(options: dict[str, str], overrides: list[str]) -> list[tuple[Dialect, object, TraceStream]]:
    """Return (dialect, env, trace) of everything that the arguments ask for."""
    from sos.view import sources

    if "rollout" in options or "checkpoint" in options:
        return sources.from_models(options, overrides)
    if "traces" in options:
        return sources.from_trace_file(options, overrides)
    if "shard" in options:
        from sos.view.shards import from_shards

        return from_shards(options, overrides)
    if "tokens" in options or "text" in options:
        return sources.from_files(options, overrides)
    return sources.from_searches(options, overrides)


def run(arguments: Sequence[str]) -> None:
    """Write the page. Raises ValueError in one line for what the user can mend, before anything is written."""
    options, overrides = parse(arguments)
    out = Path(options.get("out", "trace.html"))
    if out.is_dir():
        raise UserError(f"out={out} is a folder; name a file in it")
    shown = build(options, overrides)
    if len(shown) > MAX_TRACES:
        raise UserError(f"{len(shown)} traces are asked for; one page shows {MAX_TRACES} at most")
    data = [trace_data(dialect, env, trace) for dialect, env, trace in shown]
    page = build_page(options.get("title", "Search traces"), data)
    with written_whole(out) as partial:
        partial.write_text(page, encoding="utf-8")
    for one in data:
        solved = "solved" if one["solved"] else "not solved"
        nodes, events, tokens = len(one["tree"]["parents"]), len(one["kinds"]), len(one["tokens"])
        counts = f"{nodes} nodes, {events} events, {tokens} tokens, {len(one['mistakes'])} mistakes"
        print(f"{one['title']}: {solved}; {counts}")
    print(f"wrote {out} ({len(page.encode()) / 1e6:.1f} MB)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status: 0, or 2 for what the user can mend."""
    return report_keyed(run, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
