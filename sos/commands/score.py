"""`sos score FILES`: anybody's answers, judged exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sos.commands.output import check_out
from sos.commands.words import configs, option, places


@dataclass
class Options:
    """JSON lines, each a problem and an answer: nums (or numbers) and target, or a ground_truth that holds them, and
    text, completion, response or another field of the answer. The answer is what the last closed <answer> or \\boxed
    holds, or the path to the goal of a written search, or else the last expression. With keys of env the problems are
    of another environment, their fields as `sos export` writes them; with keys of stream, answers are streams."""

    files: list[str] = places("FILES", "JSON lines of answers")
    rules: str = option(
        "sos",
        "what an answer may do beside whole results from 0 on",
        choices=("sos", "negatives", "rationals", "subset"),
    )
    any_order: bool = option(False, "work sums and products out in the best order, not as they are written")
    unmarked: bool = option(True, "count the last expression where nothing marks an answer")
    text: str | None = option(None, "the field of the answer; null: the first known one")
    by: str | None = option(None, "a field to make a table by")
    errors: int = option(10, "how many wrong answers are shown", low=0)
    run: str | None = option(None, "a run whose environment and dialect are meant")
    out: str | None = option(None, "write a verdict for each line into this file of JSON lines")
    overrides: list[str] = configs(("env", "stream", "experiment"), "another environment, and the dialect of streams")


def run(options: Options) -> None:
    """Judge the files, print tables and the first wrong answers. Raises UserError with file and line."""
    check_out(options.out, inputs=options.files)
    from sos.files import write_lines
    from sos.interop.files import Tally, judged_lines, score_line
    from sos.interop.rewards import as_rules
    from sos.interop.tasks import Task

    task = Task()
    if options.run is not None:
        task = Task.of_run(options.run)
    elif options.overrides:
        task = Task.of(*options.overrides, streams=any(word.startswith("stream") for word in options.overrides))
    rules = as_rules(options.rules, unmarked=options.unmarked, any_order=options.any_order)
    tally = Tally(options.by, options.errors)

    def lines() -> Iterator[str]:
        for judged in judged_lines(options.files, task, rules, options.text):
            tally.add(judged)
            yield score_line(judged)

    if options.out:
        write_lines(options.out, lines())
    else:
        for _ in lines():
            pass
    print(tally.report(options.rules + (", any order" if options.any_order else "")))
    if options.out:
        print(f"wrote {options.out}")
