"""A self-contained HTML page of traces: the tree as it was explored, and the stream of tokens beside it.

The template, style and script of the page lie in `sos/view/assets/`. The page loads nothing: everything is in the one
file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.envs.protocol import refutable
from sos.envs.words import Words, words_of
from sos.stream.codec import DecodeStatus, encode
from sos.stream.dialect.compile import Dialect
from sos.stream.verify import Error, Verdict, verify, verify_tokens
from sos.trace import ACTION, EVENT_COLUMNS, KIND, NODE, PARENT, STATE, VALUE, Event, Outcome, Trace
from sos.view.sentences import END_WORDS, explain_mistakes, mistake_names

KINDS = (*(event.name.lower() for event in Event), "rest")  # "rest": tokens that belong to no event
REST = len(KINDS) - 1
SCRIPTS = ("model.js", "draw.js", "tree.js", "stream.js", "page.js")
QUOTED = "{value}"  # stands in a sentence for the number that an event quotes


class TraceStream(NamedTuple):
    """One trace to show, with its stream and what verification found."""

    title: str
    detail: str  # where it comes from
    problem: np.ndarray  # int32 (P,): the problem that was posed
    trace: Trace  # claims, as decoded or as a search made them
    tokens: np.ndarray  # (T,) any integers
    align: np.ndarray  # int32 (A,), A <= T: the event of each token that was read, -1 for none
    verdict: Verdict


def from_trace(dialect: Dialect, env: Any, trace: Trace, title: str, detail: str = "") -> TraceStream:
    """Show a search's own trace. Raises ValueError where the dialect cannot write it."""
    tokens, align, _ = encode(dialect, trace)
    return TraceStream(title, detail, trace.problem, trace, tokens, align, verify(env, trace))


def from_tokens(
    dialect: Dialect, env: Any, problem: np.ndarray | None, tokens: Any, title: str, detail: str = ""
) -> TraceStream:
    """Show any integers as a stream, judged as an answer to `problem` (int32 (P,); None: to the one that it states)."""
    tokens = np.asarray(tokens, np.int64).reshape(-1)
    posed = np.zeros(env.problem_width, np.int32) if problem is None else np.asarray(problem, np.int32)
    verdict, trace, align = verify_tokens(dialect, env, posed, tokens)
    if problem is None:
        posed = trace.problem
        verdict = verify(env, trace)._replace(status=verdict.status)
    return TraceStream(title, detail, posed, trace, tokens, align, verdict)


def trace_data(dialect: Dialect, env: Any, shown: TraceStream) -> dict[str, Any]:
    """Return everything that the page says about one trace, as plain lists for JSON. O(tokens).

    Every token belongs to an event: those that were not read make one last event of kind `rest`. `starts[e]` is the
    first token of event e; `mistakes` maps an event to its error and a sentence about it.
    """
    trace, verdict, tokens = shown.trace, shown.verdict, shown.tokens
    speech = words_of(env)
    num_events = len(trace.events)
    num_read = int(np.searchsorted(shown.align < 0, True))
    starts = np.searchsorted(shown.align[:num_read], np.arange(num_events)).tolist()
    events = trace.events
    names = mistake_names(speech)
    mistakes = {
        str(e): {"name": names[Error(int(verdict.errors[e]))], "text": text}
        for e, text in explain_mistakes(env, trace, verdict.errors).items()
    }
    rest = _rest(verdict.status, len(tokens) - num_read)
    if rest is not None:
        wrong, name, text = rest
        starts.append(num_read)
        row = np.full((1, EVENT_COLUMNS), -1, np.int32)
        row[0, KIND] = REST
        events = np.concatenate([events, row])
        if wrong:
            mistakes[str(num_events)] = {"name": name, "text": text}
    words, ids = _words(dialect, tokens, starts)
    state_rows = _state_rows(trace)
    return {
        "title": shown.title,
        "detail": shown.detail,
        "problem": problem_data(env, speech, shown.problem),
        "stated": None if np.array_equal(trace.problem, shown.problem) else problem_data(env, speech, trace.problem),
        "says": _says(speech, shown),
        "solved": bool(verdict.solved),  # numpy's in plain Python
        "goalEvent": verdict.goal_event,
        "planEvent": verdict.plan_event,
        "ending": _ending(trace, verdict, refutable(env)),
        "kinds": events[:, KIND].tolist(),
        "nodes": events[:, NODE].tolist(),
        "values": events[:, VALUE].tolist(),
        "mistakes": mistakes,
        "rest": None if rest is None else {"name": rest[1], "text": rest[2], "at": len(shown.align) - num_read},
        "words": words,
        "tokens": ids,
        "starts": starts,
        "tree": _tree(speech, trace, state_rows),
        "keys": ["" if row < 0 else speech.state_key(trace.states[row]) for row in state_rows],
        "drawings": _drawings(speech, trace, state_rows),
    }


def problem_data(env: Any, speech: Words, problem: np.ndarray) -> dict[str, Any]:
    """Return what is given in a problem and what is to be reached, and both in short and as a sentence without its
    end."""
    given, goal = speech.problem_parts(problem)
    root = np.zeros(env.state_width, np.int32)
    environment.root_state(env, problem, root)
    return {
        "given": given,
        "goal": goal,
        "short": speech.problem_text(problem),
        "task": speech.task_text(problem, root),
    }


def _says(speech: Words, shown: TraceStream) -> dict[str, str]:
    """Return the sentences about events that the environment words: the first, dead ends and goals, and its verb."""
    root = shown.trace.states[shown.trace.events[0, STATE]] if len(shown.trace.events) else None
    task = "" if root is None else speech.task_text(shown.problem, root)
    return {
        "first": f"{task[:1].upper()}{task[1:]}.",
        "deadEnd": speech.verdict_text(shown.problem, False, QUOTED),
        "goal": speech.verdict_text(shown.problem, True, QUOTED),
        "holds": speech.holds,
    }


def _state_rows(trace: Trace) -> list[int]:
    """Return the row of the state that was first stated for each node, -1 where none was."""
    state_row = [-1] * len(trace.nodes)
    for kind, node, row in zip(*trace.events[:, [KIND, NODE, STATE]].T.tolist(), strict=True):
        if kind in (Event.GENERATE, Event.EXPAND, Event.PLAN) and node >= 0 and state_row[node] < 0:
            state_row[node] = row
    return state_row


def _tree(speech: Words, trace: Trace, state_rows: list[int]) -> dict[str, Any]:
    """Return parent, stated state, action and the part that the action made of every node, as its generation said
    them."""
    actions = trace.nodes[1:, ACTION:]
    return {
        "parents": trace.nodes[:, PARENT].tolist(),
        "states": [speech.state_parts(trace.states[row]) if row >= 0 else [] for row in state_rows],
        "actions": ["", *map(speech.action_text, actions)],
        "results": [None, *map(speech.made_part, actions)],
    }


def _drawings(speech: Words, trace: Trace, state_rows: list[int]) -> dict[str, Any] | None:
    """Return the drawings of the nodes' states: `shared`, and what each adds to it; None where nothing is drawn."""
    drawn = [None if row < 0 else speech.draw(trace.problem, trace.states[row]) for row in state_rows]
    first = next((one for one in drawn if one is not None), None)
    if first is None:
        return None
    kept = [one for one in drawn if one is not None]
    shared = {key: value for key, value in first.items() if all(key in one and one[key] == value for one in kept)}
    rest = [one if one is None else {key: one[key] for key in one if key not in shared} for one in drawn]
    return {"shared": shared, "of": rest}


def _rest(status: DecodeStatus, num: int) -> tuple[bool, str, str] | None:
    """Return (is it a mistake, name, sentence) of the tokens that belong to no event; None where all do."""
    if status == DecodeStatus.NO_PROMPT:
        return True, "no problem", "The stream does not start with a problem statement: nothing of it can be read."
    if status not in (DecodeStatus.OK, DecodeStatus.TRUNCATED):
        return True, "unreadable", "No event of the dialect goes on like this: what follows cannot be read."
    if num == 0:
        return None
    if status == DecodeStatus.TRUNCATED:
        return False, "cut off", "The stream stops inside an event."
    return False, "ignored", "What follows the end token is ignored."


def _ending(trace: Trace, verdict: Verdict, refutable: bool) -> str:
    if trace.outcome == Outcome.SOLVED and not (verdict.solved or verdict.planned):
        return "ends as solved, which it is not"
    if trace.outcome == Outcome.EXHAUSTED and refutable and not verdict.refuted:
        return "ends as exhausted, which proves nothing here"
    if trace.outcome is not None:
        return f"ends as {trace.outcome.name.lower()} ({END_WORDS[trace.outcome]})"
    return "never ends" if verdict.status in (DecodeStatus.OK, DecodeStatus.TRUNCATED) else "becomes unreadable"


def _words(dialect: Dialect, tokens: np.ndarray, starts: list[int]) -> tuple[list[str], list[int]]:
    """Return the distinct texts of tokens, white space before them included, and the index of each token's text."""
    vocab = dialect.vocab
    joined = bool(len(dialect.program.separator)) or not vocab.spaced
    first = set(starts)
    index: dict[str, int] = {}
    ids: list[int] = []
    number_before = False
    for t, token in enumerate(int(token) for token in tokens):
        number = vocab.is_number(token)
        word = vocab.tokens[token] if 0 <= token < len(vocab) else f"<{token}>"
        if vocab.spaced and t not in first and not (joined and number and number_before):
            word = f" {word}"
        number_before = number
        ids.append(index.setdefault(word, len(index)))
    return list(index), ids


def to_json(data: Any) -> str:
    """Return JSON that is safe inside a `script` element, whatever strings it holds."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def build_page(title: str, traces: Sequence[dict[str, Any]]) -> str:
    """Return the HTML of a page of traces, each from `trace_data`."""
    folder = resources.files("sos.view") / "assets"
    parts = {
        "title": escape(title),
        "style": (folder / "page.css").read_text(encoding="utf-8"),
        "script": "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS),
        "data": to_json({"title": title, "kinds": KINDS, "traces": list(traces)}),
    }
    template = (folder / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(title|style|script|data)\}\}", lambda match: parts[match[1]], template)
