"""The one list of verbs: what `sos --help`, the completion and the dispatch are made of. Nothing is imported before
it is called."""

from __future__ import annotations

import difflib
import keyword
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from sos.errors import UserError


class Verb(NamedTuple):
    """A command: `sos NAME`, done by the module of that name in `sos.commands`.

    The module has a dataclass `Options`, its schema, and `run(options)`; or, with `hydra`, a `main()` that Hydra
    gives the words.
    """

    name: str
    group: str
    summary: str
    hydra: bool = False

    def module(self) -> ModuleType:
        """Import the verb's module, whose name ends in `_` where Python keeps the word for itself."""
        return import_module(f"sos.commands.{self.name}{'_' * keyword.iskeyword(self.name)}")


VERBS = (
    Verb(
        "train",
        "make",
        "search, serialize, pretrain, evaluate; with -m a sweep (the same as python train.py)",
        hydra=True,
    ),
    Verb("init", "make", "write a small project of your own: an environment, an experiment, a sweep, a test"),
    Verb("generate", "make", "write a data set of traces or of tokens; with -m one part a job", hydra=True),
    Verb("evaluate", "measure", "evaluate a checkpoint anew, with other eval keys"),
    Verb("compare", "measure", "compare the arms of finished runs: a table, paired tests, figures"),
    Verb("doctor", "measure", "say what makes a table of arms unsound"),
    Verb("losses", "measure", "say what a model has not learned, by field of the dialect"),
    Verb("experience", "measure", "say what rollouts hold: solved, mistakes in the solved ones, pass@k, repeats"),
    Verb("attempts", "measure", "attempt problems again: go on from what is sound, begin otherwise, or start anew"),
    Verb("recovery", "measure", "make a model take one wrong step, and see whether it comes back and solves"),
    Verb("scaling", "measure", "fit laws of size and tokens to finished runs, and predict a larger one"),
    Verb("repeat", "measure", "make a run again and check that it is the same, bit for bit"),
    Verb("memory", "measure", "let a model play a stream of tasks with what it kept of those before in its context"),
    Verb("score", "measure", "judge anybody's answers in JSON lines exactly, by rules of your choice"),
    Verb("view", "look", "write one HTML page that shows searches and rollouts step by step"),
    Verb(
        "parts",
        "look",
        "list the environments, searches, heuristics, dialects and views that there are, with their packages",
    ),
    Verb("teachers", "teachers", "which share of problems a search solves within a context, by strategy and dialect"),
    Verb("strategies", "teachers", "solve rates of the published twelve strategies on the problems of a split"),
    Verb("alignment", "teachers", "which of the published twelve strategies a model searches like"),
    Verb("convert", "exchange", "published JSON records to our traces and back, every step checked"),
    Verb("export", "exchange", "a model for transformers, or a data set as JSON lines or Parquet"),
    Verb("import", "exchange", "a model that transformers or TRL trained on, back as a run"),
    Verb("completion", "exchange", "print a script that completes verbs, keys and presets in bash, zsh or fish"),
)
GROUPS = {
    "make": "Make",
    "measure": "Measure",
    "look": "Look",
    "teachers": "Study teachers",
    "exchange": "Exchange",
}


def find_verb(name: str) -> Verb:
    """Return the verb of that name. Raises UserError with the nearest one."""
    for verb in VERBS:
        if verb.name == name:
            return verb
    near = difflib.get_close_matches(name, [verb.name for verb in VERBS], 1)
    raise UserError(f"no verb {name!r}{f'; did you mean {near[0]}?' if near else ''} (sos --help lists them)")


def overview() -> str:
    """Return the text of `sos --help`."""
    width = max(len(verb.name) for verb in VERBS)
    lines = ["sos VERB [RUNS or FILES] [key=value ...]    (sos VERB --help: its keys)", ""]
    for group, title in GROUPS.items():
        lines.append(title)
        lines += [f"  {verb.name:<{width}}  {verb.summary}" for verb in VERBS if verb.group == group]
        lines.append("")
    return "\n".join(lines).rstrip()
