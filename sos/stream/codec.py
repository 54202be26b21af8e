"""Encode traces into tokens, and decode any token array at all into a trace of claims."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.errors import UserError
from sos.stream.dialect.compile import Dialect
from sos.stream.dialect.vocab import BOS
from sos.stream.markers import Markers, find_marks, put_marks
from sos.stream.read.decode import decode_kernel
from sos.stream.slot import behind_context
from sos.stream.write.encode import TokenRows, encode_traces
from sos.stream.write.refusals import ENCODE_ERRORS, OK
from sos.stream.write.space import new_writing, tokens_size
from sos.trace import ACTION, EVENT_COLUMNS, Trace, TraceRows, new_buffer, to_trace


class Decoded(NamedTuple):
    """What `decode` returns: the trace so far, the status, and where reading stopped."""

    trace: Trace
    status: DecodeStatus
    position: int  # index of the first token that was not understood, or the number of tokens read
    align: np.ndarray  # int32 (position,): the event that each token belongs to


class DecodeStatus(IntEnum):
    """How reading a token array ended."""

    OK = 0  # read up to `<eos>`
    TRUNCATED = 1  # the tokens end before `<eos>`
    MALFORMED = 2  # no form of the dialect goes on with the token at the position
    NO_PROMPT = 3  # the tokens do not start with a problem statement
    BUFFER_FULL = 4  # more events or nodes than the caller's buffer holds


def encode(dialect: Dialect, trace: Trace) -> tuple[np.ndarray, np.ndarray, int]:
    """Return (tokens uint16 (T,), align int32 (T,), number of prompt tokens) of a whole trace.

    Raises ValueError where the dialect cannot express the trace (a jump that its forms do not name).
    """
    sizes = (len(trace.events), len(trace.nodes), len(trace.states))
    writing = new_writing(dialect.program, *sizes)
    offsets = np.array([(0, 0, 0), sizes], np.int64)
    visits, strategies = np.zeros(1, np.int64), np.zeros(1, np.int32)
    source = TraceRows(trace.problem[None], trace.events, trace.nodes, trace.states, offsets, visits, strategies)
    streams, prompts, kept = np.zeros(2, np.int64), np.zeros(1, np.int32), np.zeros(1, np.int64)
    size = 256
    while True:
        tokens, kinds = (np.zeros(tokens_size(dialect.program, size), kind) for kind in (np.uint16, np.int8))
        sink = TokenRows(tokens, kinds, streams, prompts, kept)
        num, _, _, status, event = encode_traces(dialect.program, size, source, 0, 1, writing, sink, 0)
        if status != OK:
            raise UserError(f"dialect {dialect.name} cannot write event {event} of the trace: {ENCODE_ERRORS[status]}")
        if num:
            lengths = np.diff(writing.stops, prepend=0)
            align = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
            tokens = tokens[: streams[1]].copy()
            if dialect.markers is not None and len(lengths) > 1:
                tokens, align = _marked(dialect.markers, trace, tokens, align, writing.stops - lengths)
            return tokens, align, int(prompts[0])
        size *= 4


def _marked(
    markers: Markers, trace: Trace, tokens: np.ndarray, align: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of a whole trace and their events with the markers of what is seen in it."""
    put = put_marks(markers, find_marks(markers, trace), starts)
    return np.insert(tokens, put.positions, put.ids), np.insert(align, put.positions, align[put.positions])


def encode_prompt(dialect: Dialect, problem: Any, context: Any = None) -> list[int]:
    """Return the prompt ids of `problem`: `<bos>`, the tokens of a `context` if there is one, and the root form.

    Without a `context` the prompt is what a base of this dialect is asked with: where streams say whether they are a
    success, it asks for one. `()` is the problem alone.
    """
    if context is None:
        context = () if dialect.slot is None else dialect.slot.asks
    problem = np.asarray(problem, np.int32)
    events = np.zeros((1, EVENT_COLUMNS), np.int32)
    nodes = np.full((1, ACTION + dialect.env.action_width), -1, np.int32)
    states = np.zeros((1, dialect.env.state_width), np.int32)
    environment.root_state(dialect.env, problem, states[0])
    tokens, _, _ = encode(dialect, Trace(problem, events, nodes, states))
    return [*tokens[:1].tolist(), *map(int, context), *tokens[1:].tolist()]


def decode(dialect: Dialect, env: Any, tokens: Any) -> Decoded:
    """Read any integer array as a stream; never raises for its contents.

    What follows the first `<eos>` is ignored. The trace holds what was claimed up to the position where reading
    stopped. The tokens of a context belong to the first event, the problem's statement. Markers are read as if they
    were not there; each belongs to the event that the token behind it tells.
    """
    tokens = np.ascontiguousarray(tokens, np.int64).reshape(-1)
    if dialect.markers is not None:
        kept = np.flatnonzero(~dialect.markers.are(tokens))
        if len(kept) < len(tokens):
            return _spread(_read(dialect, env, tokens[kept]), kept, len(tokens))
    return _read(dialect, env, tokens)


def _spread(found: Decoded, kept: np.ndarray, num: int) -> Decoded:
    """Return what was read of the tokens `kept` (increasing positions among `num` tokens) as of all of them."""
    if found.status == DecodeStatus.OK:
        position = int(kept[found.position - 1]) + 1
    else:
        position = int(kept[found.position]) if found.position < len(kept) else num
    events = np.append(found.align, np.int32(-1))
    behind = np.searchsorted(kept, np.arange(position))  # the token that stands here, or the next one
    align = events[np.minimum(behind, len(found.align))]
    return found._replace(position=position, align=align)


def _read(dialect: Dialect, env: Any, tokens: np.ndarray) -> Decoded:
    """Read int64 tokens, in which no markers are."""
    start = behind_context(dialect.slot, tokens)
    if start == 1:
        return _decode(dialect, env, tokens)
    if start < 0:
        unread = _decode(dialect, env, tokens[:1])
        return unread._replace(position=len(tokens), align=np.full(len(tokens), -1, np.int32))
    found = _decode(dialect, env, np.concatenate([tokens[:1], tokens[start:]]))
    before = np.full(start - 1, found.align[0] if len(found.align) else -1, np.int32)
    return found._replace(position=found.position + start - 1, align=np.concatenate([before, found.align]))


def _decode(dialect: Dialect, env: Any, tokens: np.ndarray) -> Decoded:
    """Read int64 tokens, in which no context is."""
    # Every event takes at least one token, but for a visit or a goal that is not written; a node takes an event.
    size = len(tokens) + 2
    program = dialect.program
    silent = program.silent_expand or program.silent_goal or program.sketches
    buffer = new_buffer(size + silent * size, size, ACTION + env.action_width, env.state_width)
    align = np.full(len(tokens), -1, np.int32)
    problem = np.zeros(env.problem_width, np.int32)
    status, position = decode_kernel(dialect.program, env, tokens, problem, buffer, align)
    return Decoded(to_trace(problem, buffer), DecodeStatus(status), int(position), align[: int(position)])


assert BOS == 1  # the root form starts with it
