"""The encoder's kernels: write traces as tokens in one pass over a compiled dialect's steps.

What a trace says twice is written once and copied: the words of a visit, an action, the numbers of a state, a path
and a history.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.kernels import inlined, inner, kernel
from sos.stream.dialect import program as d
from sos.stream.dialect.program import (
    DEPTH,
    END_SOLVED,
    HISTORY,
    LEVEL,
    LITERAL,
    NUM_KINDS,
    PATH,
    PROBLEM_LIST,
    PROBLEM_NUMBER,
    STATE_LIST,
    STATE_NUMBER,
    STATE_SYMBOL,
    VALUE_NUMBER,
    VALUE_RECORD,
)
from sos.stream.write.fields import (
    depth,
    put_action,
    put_history,
    put_path,
    put_phrase,
    put_record,
    put_records,
    put_state,
)
from sos.stream.write.refusals import (
    NO_CHOICE,
    NO_END,
    NO_PLAN,
    NO_ROOM,
    NO_SKETCH,
    NOT_AN_ANCESTOR,
    NOT_EXPANDED,
    NOT_JUST_GENERATED,
    NOT_VISITED,
    OK,
    TWINS,
)
from sos.stream.write.space import (
    HISTORY_START,
    HISTORY_STOP,
    IS_LEAF,
    LEVEL_TOLD,
    PATH_START,
    PHRASE_START,
    STATE_TOLD,
    VISIT_START,
    VISIT_STOP,
    put_number,
)
from sos.stream.write.spans import SLACK, copy_longer_run, copy_run, fill_run
from sos.stream.write.steps import (
    ARGUMENT,
    CHANGING_START,
    CHANGING_STEP,
    CHANGING_STOP,
    NOTHING,
    PHRASE,
    PIECE,
    PLACE,
    SIZE,
    STEP,
)
from sos.trace import (
    BACKTRACK,
    BARE_FLAG,
    DEAD_END,
    END,
    EXPAND,
    FLAGS,
    FORCED_FLAG,
    GENERATE,
    GOAL,
    KIND,
    NODE,
    PARENT,
    PLAN,
    STATE,
    UNTOLD_FLAG,
    VALUE,
    Trace,
)

FORM_ROOT, FORM_EXPAND, FORM_LABEL, FORM_BACKTRACK, FORM_JUMP = d.ROOT, d.EXPAND, d.LABEL, d.BACKTRACK, d.JUMP
FORM_OF_KIND = (d.EXPAND, d.GENERATE, d.DEAD_END, d.GOAL, d.BACKTRACK, d.END_SOLVED, d.PLAN)


class TokenRows(NamedTuple):
    """Where streams are written behind each other. N = streams that there is room for."""

    tokens: np.ndarray  # uint16 (`tokens_size`,)
    kinds: np.ndarray  # int8, as long: the kind of the event that each token belongs to
    stops: np.ndarray  # int64 (N + 1,): stream i is `tokens[stops[i] : stops[i + 1]]`
    prompts: np.ndarray  # int32 (N,): prompt tokens of each stream
    kept: np.ndarray  # int64 (N,): the trace that each stream tells


class Said(NamedTuple):
    """What an event is about."""

    node: int  # the root where the event has none
    state: int  # the first where the event has none
    value: int
    level: int  # of the node, or of the parent of one that is generated


@inner
def _is_ancestor(nodes, ancestor, node):
    """Say whether `ancestor` lies on the way from the root to `node`."""
    while node >= 0 and node != ancestor:
        node = np.int64(nodes[node, PARENT])
    return node >= 0


@inner
def _last_of_level(nodes, told, node, level):
    """Return the last node of `level` on the way from the root to `node`, -1 for none."""
    while node >= 0 and told[node, LEVEL_TOLD] != level:
        node = np.int64(nodes[node, PARENT])
    return node


@inner
def _put_rare(program, field, argument, said, trace, writing, tokens, t):
    """Write a field that most forms do not have."""
    if field == LEVEL:
        return put_number(said.level, program, writing, tokens, t)
    if field == STATE_SYMBOL:
        number = np.int64(trace.states[said.state, program.columns[argument]])
        tokens[t] = program.symbols[argument, max(0, min(number, program.symbols.shape[1] - 1))]
        return t + 1
    if field == STATE_NUMBER:
        return put_number(np.int64(trace.states[said.state, argument]), program, writing, tokens, t)
    if field == VALUE_RECORD:
        return put_record(program, argument, trace.problem, said.value, writing, tokens, t)
    row = trace.problem if field == PROBLEM_LIST else trace.states[said.state]
    return put_records(program, argument, row, writing, tokens, t)


@inlined
def _put_form(program, form, said, trace, writing, tokens, t):
    """Write one form; return the position behind it."""
    steps, nodes, node = writing.steps, trace.nodes, said.node
    for m in range(writing.step_start[form], writing.step_start[form + 1]):
        t = copy_run(writing.literals, np.int64(steps[STEP * m + PLACE]), np.int64(steps[STEP * m + SIZE]), tokens, t)
        field = steps[STEP * m + PIECE]
        if field == PHRASE:
            t = put_phrase(program, nodes, node, writing, tokens, t)
        elif field == STATE_LIST:
            t = put_state(program, m, trace.states, said.state, writing, tokens, t)
        elif field == PATH:
            t = put_path(program, nodes, node, writing.told[node, IS_LEAF] > 0, writing, tokens, t)
        elif field == HISTORY:
            t = put_history(program, nodes, node, writing, tokens, t)
        elif field == VALUE_NUMBER or field == DEPTH:
            t = put_number(said.value if field == VALUE_NUMBER else depth(nodes, node), program, writing, tokens, t)
        elif field >= STATE_NUMBER and field < NUM_KINDS:
            t = np.int64(
                _put_rare(program, field, np.int64(steps[STEP * m + ARGUMENT]), said, trace, writing, tokens, t)
            )
        elif field != NOTHING:
            t = put_action(program, field, np.int64(steps[STEP * m + ARGUMENT]), nodes, node, writing, tokens, t)
    return t


@inner
def _begin(program, trace, writing):
    """Forget the trace before, and write the numbers of the problem into the runs that hold them."""
    told, lists, steps = writing.told, writing.lists, writing.steps
    for node in range(len(trace.nodes)):
        told[node, STATE_TOLD] = 0
        told[node, HISTORY_START] = 0
        told[node, HISTORY_STOP] = 0
        told[node, PHRASE_START] = 0
        told[node, PATH_START] = 0
        told[node, IS_LEAF] = 0
    if program.present[d.FORCED]:
        for node in range(len(trace.nodes)):
            told[node, LEVEL_TOLD] = 1
    for state in range(len(trace.states)):
        lists[state, 0] = 0
    for r in range(len(writing.changing)):
        m = writing.changing[r, CHANGING_STEP]
        place = np.int64(steps[STEP * m + PLACE])
        t = place
        for k in range(writing.changing[r, CHANGING_START], writing.changing[r, CHANGING_STOP]):
            argument = np.int64(writing.pieces[k, 1])
            if writing.pieces[k, 0] == LITERAL:
                writing.literals[t] = argument
                t += 1
            else:
                t = put_number(np.int64(trace.problem[argument]), program, writing, writing.literals, t)
        steps[STEP * m + SIZE] = t - place


@inner
def _has_twin(trace, e, node):
    """Say whether a node that was generated between `node` and event `e` is in the state that the event says. O(e)."""
    state = trace.states[trace.events[e, STATE]]
    for before in range(e - 1, -1, -1):
        other = np.int64(trace.events[before, NODE])
        if trace.events[before, KIND] != GENERATE:
            continue
        if other <= node:
            break  # those before were generated earlier
        same = True
        for k in range(len(state)):
            if trace.states[trace.events[before, STATE], k] != state[k]:
                same = False
                break
        if same:
            return True
    return False


@inlined
def _jump(program, trace, e, node, error):
    """Return the form of a jump, or the error where there is none that could be read."""
    if not program.present[FORM_JUMP]:
        return error
    return TWINS if program.jumps_by_state and _has_twin(trace, e, node) else FORM_JUMP


@inlined
def _form_of(program, has_levels, trace, e, node, current, told):
    """Return the form that event `e` of `node` is written in, or an error; `current` is where the trace stands
    before."""
    events = trace.events
    kind = events[e, KIND]
    if kind == EXPAND:
        if e == 0:
            return FORM_ROOT if program.sketches or not events[e, FLAGS] & UNTOLD_FLAG else NO_SKETCH
        if program.silent_expand and (events[e - 1, KIND] != GENERATE or events[e - 1, NODE] != node):
            return NOT_EXPANDED
        if not program.names_expanded and (events[e - 1, KIND] != GENERATE or events[e - 1, NODE] != node):
            return _jump(program, trace, e, node, NOT_JUST_GENERATED)
        if program.shared_visit and program.returns_by_state and _has_twin(trace, e, node):
            return TWINS if program.jumps_by_state else _jump(program, trace, e, node, TWINS)
        return FORM_BACKTRACK if program.shared_visit else FORM_EXPAND
    if kind == BACKTRACK:
        if program.returns_by_depth and not _is_ancestor(trace.nodes, node, current):
            return _jump(program, trace, e, node, NOT_AN_ANCESTOR)
        if program.returns_by_level and _last_of_level(trace.nodes, told, current, told[node, LEVEL_TOLD]) != node:
            return _jump(program, trace, e, node, NO_CHOICE)
        if program.returns_by_state and _has_twin(trace, e, node):
            return TWINS if program.jumps_by_state else _jump(program, trace, e, node, TWINS)
        return FORM_BACKTRACK
    if kind == END:
        form = END_SOLVED + events[e, VALUE]
        return form if program.present[form] else NO_END
    if kind == PLAN and not program.present[d.PLAN]:
        return NO_PLAN
    if kind == GOAL and program.silent_goal and (events[e - 1, KIND] != EXPAND or events[e - 1, NODE] != node):
        return NOT_VISITED
    if kind == GENERATE and events[e, FLAGS] & BARE_FLAG:
        return d.BARE if program.present[d.BARE] else NO_SKETCH
    if has_levels and kind == GENERATE and events[e, FLAGS] & FORCED_FLAG:
        return d.FORCED
    return FORM_OF_KIND[kind]


@inner
def _put_heading(program, trace, e, writing, tokens, t):
    """Write what stands in front of event `e`, if it begins the search or the plan; return the position behind it."""
    kind, form = trace.events[e, KIND], np.int64(d.BEGIN_SEARCH)
    if kind == PLAN:
        form = np.int64(d.BEGIN_PLAN)
    elif trace.events[0, FLAGS] & UNTOLD_FLAG:
        form = np.int64(d.BEGIN_BARE if trace.events[0, FLAGS] & BARE_FLAG else d.BEGIN_SKETCH)
    if (trace.events[e - 1, KIND] == PLAN) if kind == PLAN else e != 1:
        return t
    root = Said(np.int64(0), np.int64(0), np.int64(0), np.int64(0))
    for pc in range(program.start[form], program.start[form + 1]):
        piece, argument = np.int64(program.code[pc, 0]), np.int64(program.code[pc, 1])
        if piece == LITERAL:
            tokens[t] = argument
            t += 1
        elif piece == PROBLEM_NUMBER:
            t = put_number(np.int64(trace.problem[argument]), program, writing, tokens, t)
        else:
            t = np.int64(_put_rare(program, piece, argument, root, trace, writing, tokens, t))
    return t


@inlined
def _put_event(program, form, kind, said, trace, writing, tokens, t):
    """Write an event in its form; return the position behind it."""
    row = writing.told[said.node]
    if form == FORM_BACKTRACK and row[STATE_TOLD] == said.state + 1:
        # The same words again: a return says nothing but its node and state.
        start, size = np.int64(row[VISIT_START]), np.int64(row[VISIT_STOP] - row[VISIT_START])
        return copy_longer_run(tokens, start, size, tokens, t)
    begin = t
    # An inner node has a second form where the dialect labels nodes.
    num_forms = 2 if kind == GENERATE and program.present[FORM_LABEL] and row[IS_LEAF] == 0 else 1
    for _ in range(num_forms):  # one call site: `_put_form` is compiled into each
        t = _put_form(program, form, said, trace, writing, tokens, t)
        if form == FORM_BACKTRACK:
            row[STATE_TOLD] = said.state + 1
            row[VISIT_START] = begin
            row[VISIT_STOP] = t
        form = np.int64(FORM_LABEL)
    return t


@inlined
def _put_trace(program, context, trace, writing, tokens, kinds):
    """Write a trace, up to the event that goes beyond `context` tokens. Returns (tokens, prompt tokens among them, OK
    or an error, the event of the error)."""
    _begin(program, trace, writing)
    events, has_levels = trace.events, program.present[d.FORCED]
    t = prompt = current = np.int64(0)
    for e in range(len(events)):
        if t > context:
            break
        kind = events[e, KIND]
        node = max(np.int64(events[e, NODE]), 0)
        if e > 0 and events[e, FLAGS] & UNTOLD_FLAG:  # no words say it
            current = node
            writing.stops[e] = t
            continue
        form = np.int64(_form_of(program, has_levels, trace, e, node, current, writing.told))
        if form < 0:
            return t, prompt, form, e
        if kind == EXPAND or kind == BACKTRACK:
            current = node
        elif kind == GENERATE:
            current = np.int64(trace.nodes[node, PARENT])
            if has_levels:
                level = writing.told[max(current, 0), LEVEL_TOLD]
                writing.told[node, LEVEL_TOLD] = level + (0 if events[e, FLAGS] & FORCED_FLAG else 1)
            after = events[e + 1, KIND] if e + 1 < len(events) else END
            if after == DEAD_END or after == GOAL:
                writing.told[node, IS_LEAF] = 1
            elif program.silent_expand and after != EXPAND:
                return t, prompt, np.int64(NOT_EXPANDED), e
        level = np.int64(0)
        if has_levels:
            level = np.int64(writing.told[max(current, 0) if kind == GENERATE else node, LEVEL_TOLD])
        said = Said(node, max(np.int64(events[e, STATE]), 0), np.int64(events[e, VALUE]), level)
        begin = t
        if program.headed and e > 0:
            t = np.int64(_put_heading(program, trace, e, writing, tokens, t))
        t = _put_event(program, form, kind, said, trace, writing, tokens, t)
        if e == 0:
            prompt = t
        fill_run(kinds, begin, t, np.int8(kind))
        writing.stops[e] = t
    return t, prompt, np.int64(OK), 0


@kernel
def encode_traces(program, context, source, start, stop, writing, sink, num):
    """Append the streams of traces `start` to `stop` of `source` (TraceRows) to the `num` streams of `sink`.

    A stream of more than `context` tokens is dropped. `writing` must be `program`'s; of the last trace it tells where
    each event's tokens stop (`writing.stops`).

    Returns (streams, dropped, trace reached, status, event): the status is `OK`, `NO_ROOM` where the tokens of `sink`
    are too few, or an error of the encoder at that event. O(tokens).
    """
    dropped = 0
    used = sink.stops[num]
    for k in range(start, stop):
        if used + context + program.max_event_tokens + SLACK > len(sink.tokens):
            return num, dropped, k, NO_ROOM, 0
        first, after = source.offsets[k], source.offsets[k + 1]
        trace = Trace(
            source.problems[k],
            source.events[first[0] : after[0]],
            source.nodes[first[1] : after[1]],
            source.states[first[2] : after[2]],
        )
        t, prompt, status, event = _put_trace(program, context, trace, writing, sink.tokens[used:], sink.kinds[used:])
        if status != OK:
            return num, dropped, k, status, event
        if t > context:
            dropped += 1
            continue
        used += t
        sink.stops[num + 1] = used
        sink.prompts[num] = prompt
        sink.kept[num] = k
        num += 1
    return num, dropped, stop, OK, 0
