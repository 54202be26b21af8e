"""Which form comes next, with what stands in front of it: a search and a plan may begin with a heading of their own."""

from __future__ import annotations

import numpy as np

from sos.kernels import inlined, inner
from sos.stream.dialect import program as d
from sos.stream.read.forms import FURTHEST, HEADING_QUOTES, QUOTES, STATED, read_form
from sos.trace import KIND, PLAN

FORM_ROOT, FORM_EXPAND, FORM_PLAN, FORM_LAST_END = d.ROOT, d.EXPAND, d.PLAN, d.END_EMPTY
BEGIN_SEARCH, BEGIN_PLAN, NOTHING = d.BEGIN_SEARCH, d.BEGIN_PLAN, -1


@inner
def state_differs(states, row, state):
    for k in range(states.shape[1]):
        if states[row, k] != state[k]:
            return True
    return False


@inlined
def _due(program, buffer):
    """Return whether a search has to begin with its heading here, and whether a plan has to begin with its own."""
    num = buffer.counts[0]
    search = program.present[BEGIN_SEARCH] and num == 1
    return search, num > 0 and program.present[BEGIN_PLAN] and buffer.events[num - 1, KIND] != PLAN


@inlined
def _fits(form, heading, due):
    """Say whether a form may stand behind a heading, or without one, where what is `due` has to begin with its own."""
    if form == FORM_PLAN:
        return heading == BEGIN_PLAN or (heading == NOTHING and not due[1])
    return heading == BEGIN_SEARCH or (heading == NOTHING and not due[0])


@inlined
def _misquotes(buffer, reading):
    """Say whether the heading that was just read repeats anything of the problem wrongly: a number, or the root."""
    scalars = reading.scalars
    return scalars[QUOTES] > 0 or (scalars[STATED] > 0 and state_differs(buffer.states, 0, reading.state))


@inlined
def next_form(program, buffer, problem, tokens, pos, reading):
    """Return the first form that reads the tokens at `pos`, behind its heading, and the position behind it, -1 if there
    is none."""
    scalars, due = reading.scalars, _due(program, buffer)
    scalars[FURTHEST] = pos
    scalars[HEADING_QUOTES] = 0
    begun = buffer.counts[0] > 0
    form, last = (FORM_EXPAND, FORM_LAST_END) if begun else (FORM_ROOT, FORM_ROOT)
    headings = 2 if due[0] or due[1] else 0  # to be tried yet
    heading = NOTHING
    while form <= last:
        tried = form
        if headings > 0:
            tried = BEGIN_SEARCH if headings == 2 else BEGIN_PLAN
            fits = due[2 - headings]
        else:
            fits = _fits(form, heading, due)
        # One call site, because the reader is compiled into it.
        after = np.int64(read_form(program, tried, problem, tokens, pos, reading)) if fits else np.int64(-1)
        if headings > 0:
            headings -= 1
            if after >= 0:
                heading, headings, pos = tried, 0, after
                scalars[HEADING_QUOTES] = _misquotes(buffer, reading)
        elif after >= 0:
            return form, after
        else:
            form += 1
    return 0, np.int64(-1)
