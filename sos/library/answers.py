"""One search or one answer: written, read, verified and shown."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sos.config import Config
from sos.envs.words import words_of
from sos.errors import UserError
from sos.files import written_whole
from sos.interop.tasks import text_tokens, token_pattern
from sos.library.settings import Problem, config_of, problem_row
from sos.rng import stream_key
from sos.search.run import run_search
from sos.stream.codec import DecodeStatus, decode, encode, encode_prompt
from sos.stream.dialect.vocab import BOS, EOS, PAD
from sos.stream.slot import behind_context
from sos.stream.text import annotate, words
from sos.stream.verify import Error, Verdict, verify_tokens
from sos.stream.viewing import view_trace
from sos.stream.views import SWAPPED
from sos.system import MAX_TRACE_NODES, System, build_system
from sos.trace import ACTION, EXPAND, KIND, NODE, PARENT, Outcome, Trace
from sos.view.page import build_page, from_tokens, trace_data
from sos.view.sentences import explain_mistakes, mistake_names

if TYPE_CHECKING:  # it takes a second to import
    from matplotlib.figure import Figure


class WrongEvent(NamedTuple):
    """A mistake of an answer."""

    event: int  # its number in `Answer.trace.events`
    name: str  # such as "arithmetic", as tables and docs/errors.md call it
    text: str  # what is right, in a sentence


@dataclass(frozen=True)
class Answer:
    """A stream of tokens, read as an answer to a problem, and what exact replay says of it."""

    system: System = field(repr=False)
    problem: np.ndarray  # int32 (P,)
    tokens: np.ndarray = field(repr=False)  # int32 (T,), the problem's statement in front
    num_prompt: int  # how many of them are `<bos>`, a context and the problem's statement
    verdict: Verdict = field(repr=False)
    trace: Trace = field(repr=False)  # what the tokens claim
    align: np.ndarray = field(repr=False)  # int32 (T',): the event that each token belongs to, as far as could be read

    @classmethod
    def of(cls, system: System, problem: np.ndarray, tokens: Any, num_prompt: int) -> Answer:
        """Read and judge `tokens`, any integers."""
        tokens = np.asarray(tokens, np.int64).reshape(-1)
        verdict, trace, align = verify_tokens(system.dialect, system.env, problem, tokens)
        return cls(system, problem, tokens, num_prompt, verdict, trace, align)

    @property
    def solved(self) -> bool:
        """Whether the first goal is reached by sound steps, or the problem is refuted, whatever mistakes lie beside."""
        return self.verdict.solved

    @property
    def planned(self) -> bool:
        """Whether the plan behind the search, where streams have one, solves the problem."""
        return self.verdict.planned

    @property
    def outcome(self) -> Outcome | None:
        """How the stream says that its search ended; None where it does not end."""
        return self.trace.outcome

    @property
    def num_expanded(self) -> int:
        """The nodes that were expanded, the root included."""
        return int((self.trace.events[:, KIND] == EXPAND).sum())

    @property
    def problem_text(self) -> str:
        """The problem in short, such as `9 7 1 → 56`."""
        return words_of(self.system.env).problem_text(self.problem)

    @property
    def text(self) -> str:
        """All tokens as text, without `<bos>` and what follows it of special tokens."""
        return words(self.system.dialect, [token for token in self.tokens.tolist() if token not in (BOS, EOS, PAD)])

    @cached_property
    def path(self) -> list[str]:
        """The actions from the problem to its goal, of the search or else of the plan; empty where it is not solved, or
        refuted."""
        event = self.verdict.goal_event if self.solved and not self.verdict.refuted else self.verdict.plan_event
        if event < 0:
            return []
        node, nodes = int(self.trace.events[event, NODE]), self.trace.nodes
        steps: list[str] = []
        while nodes[node, PARENT] >= 0:
            steps.append(words_of(self.system.env).action_text(nodes[node, ACTION:]))
            node = int(nodes[node, PARENT])
        return steps[::-1]

    @cached_property
    def mistakes(self) -> list[WrongEvent]:
        """The wrong events in their order, and what is right; what cannot be read is the last."""
        errors = self.verdict.errors
        texts = explain_mistakes(self.system.env, self.trace, errors)
        found = [WrongEvent(e, Error(int(errors[e])).name.lower(), text) for e, text in texts.items()]
        if self.verdict.status in (DecodeStatus.MALFORMED, DecodeStatus.NO_PROMPT):
            found.append(WrongEvent(len(errors), "malformed", f"token {len(self.align)} cannot be read"))
        return found

    def named(self, mistake: WrongEvent) -> str:
        """Return what people call a mistake in this environment, such as `number not available`."""
        known = mistake_names(words_of(self.system.env))
        return known.get(Error.__members__.get(mistake.name.upper(), Error.NONE), mistake.name)

    def markdown(self) -> str:
        """Return the stream an event per line, the first mistake marked, as notebooks show it."""
        return annotate(self.system.dialect, self.system.env, self.problem, self.tokens)

    _repr_markdown_ = markdown

    def figure(self) -> Figure:
        """Return a drawing of the tree: the way to the goal, and where the search turned back."""
        from sos.library.drawing import tree_figure

        verdict = "refuted" if self.verdict.refuted else "solved" if self.solved else "not solved"
        wrong = [mistake.event for mistake in self.mistakes]
        return tree_figure(self.system.env, self.trace, wrong, f"{self.problem_text}: {verdict}")


def solve(problem: Problem, *settings: str | Config) -> Answer:
    """Search a problem, and return the whole search as the stream that a run with these settings is trained on.

    Args:
        problem: as its environment writes it: "[56,9,7,1]" is to reach 56 with 9, 7 and 1; the same as a list,
            its fields by name ({"nums": [9, 7, 1], "target": 56}), or a row int (P,) of a data set.
        settings: words of the command line, such as "experiment=sudoku" or "search=dfs", or a `Config`. None are
            those of the default run.

    Raises UserError for a setting or a problem that cannot be, and for a search of more than 60,000 nodes.
    """
    config = config_of(settings)
    system = build_system(config)
    if system.view.kind == SWAPPED:
        raise UserError("stream.view=swapped shows the search of another problem: solve has one problem alone")
    row = problem_row(system, problem)
    trace = run_search(system.strategy, system.env, row, MAX_TRACE_NODES)
    trace = view_trace(system.view, system.env, trace, int(stream_key(config.seed, "dose")), MAX_TRACE_NODES)
    tokens, _, num_prompt = encode(system.dialect, trace)
    return Answer.of(system, row, tokens, num_prompt)


def verify(answer: str | Sequence[int] | np.ndarray, *settings: str | Config, problem: Problem | None = None) -> Answer:
    """Read a stream and judge every step of it exactly; see `Answer.solved` and `Answer.mistakes`.

    Args:
        answer: the text of a stream, or its tokens, any integers. Nothing in it can raise or run.
        settings: what says the environment and the dialect, as in `solve`.
        problem: what the stream is to answer, as in `solve`; a stream without the problem's statement in front is then
            taken as what follows it. None takes the problem that the stream states.

    Raises UserError for settings or a problem that cannot be, and for a stream that states none where none is given.
    """
    return judged(build_system(config_of(settings)), answer, problem)


def judged(system: System, answer: str | Sequence[int] | np.ndarray, problem: Problem | None) -> Answer:
    """Judge a text or tokens in a system, see `verify`."""
    ids = _ids(system, answer)
    if problem is None:
        found = decode(system.dialect, system.env, ids)
        if found.status == DecodeStatus.NO_PROMPT:
            raise UserError("the stream does not begin with a problem: give problem=...")
        row = found.trace.problem
        return Answer.of(system, row, ids, _behind_prompt(system, row, ids))
    row = problem_row(system, problem)
    if decode(system.dialect, system.env, ids).status == DecodeStatus.NO_PROMPT:
        ids = ids if ids[:1] == [BOS] else [BOS, *ids]
        start = max(1, behind_context(system.dialect.slot, np.array(ids)))
        ids = [*ids[:start], *encode_prompt(system.dialect, row, ())[1:], *ids[start:]]
    return Answer.of(system, row, ids, _behind_prompt(system, row, ids))


def _behind_prompt(system: System, row: np.ndarray, ids: Sequence[int]) -> int:
    """Return how many of the tokens are `<bos>`, a context and the problem."""
    return len(encode_prompt(system.dialect, row, ())) + max(0, behind_context(system.dialect.slot, np.array(ids)) - 1)


def _ids(system: System, answer: str | Sequence[int] | np.ndarray) -> list[int]:
    """Return the tokens of an answer, the first of a text `<bos>`, and its last `<eos>` where all of it can be read."""
    vocab = system.dialect.vocab
    if isinstance(answer, str):
        ids, stopped = text_tokens(token_pattern(vocab), vocab, answer)
        ids = list(ids) + ([EOS] if stopped < 0 and EOS not in ids else [] if stopped < 0 else [PAD])
        return ids if ids[:1] == [BOS] else [BOS, *ids]
    array = np.asarray(answer)
    if array.ndim != 1 or (len(array) and array.dtype.kind not in "iu"):
        raise UserError(f"an answer is a text or whole numbers (T,), got {array.dtype} {array.shape}")
    numbers: list[int] = np.clip(array.astype(np.int64), -1, 2**31).tolist()
    return numbers


def save_page(path: str | os.PathLike[str], answers: Answer | Sequence[Answer], title: str = "sos") -> Path:
    """Write an HTML page that shows answers, as `sos view` does: it works offline. Returns its path.

    Raises UserError without any answer, OSError where the file cannot be written.
    """
    shown = [answers] if isinstance(answers, Answer) else list(answers)
    if not shown:
        raise UserError("save_page needs an answer at least")
    data = []
    for number, answer in enumerate(shown):
        env, dialect = answer.system.env, answer.system.dialect
        name = answer.problem_text if len(shown) == 1 else f"{number}: {answer.problem_text}"
        data.append(trace_data(dialect, env, from_tokens(dialect, env, answer.problem, answer.tokens, name)))
    target = Path(path)
    with written_whole(target) as partial:
        partial.write_text(build_page(title, data), encoding="utf-8")
    return target
