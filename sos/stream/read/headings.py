"""Which form comes next, with what stands in front of it: a search and a plan may begin with a heading of their own."""

from __future__ import annotations

import numpy as np

from sos.kernels import inlined, inner
from sos.stream.dialect import program as d
from sos.stream.read.forms import read_form, read_heading
from sos.stream.read.lists import FURTHEST, HEADING_QUOTES
from sos.trace import BARE_FLAG, FLAGS, KIND, PLAN, UNTOLD_FLAG

FORM_ROOT, FORM_EXPAND, FORM_PLAN, FORM_LAST_END = d.ROOT, d.EXPAND, d.PLAN, d.END_EMPTY
BEGIN_SEARCH, BEGIN_PLAN, BEGIN_SKETCH, BEGIN_BARE = d.BEGIN_SEARCH, d.BEGIN_PLAN, d.BEGIN_SKETCH, d.BEGIN_BARE


@inner
def _pass_begin(program, buffer, problem, tokens, pos, reading):
    """Read what a search, or else a sketch, begins with, which the root's visit then says; return as `read_heading`
    does."""
    after, wrong, flags = np.int64(-1), False, 0
    for form in (BEGIN_SEARCH, BEGIN_SKETCH, BEGIN_BARE):
        if after < 0 and program.present[form]:
            after, wrong = read_heading(program, form, buffer.states[0], problem, tokens, pos, reading)
            flags = 0 if form == BEGIN_SEARCH else UNTOLD_FLAG if form == BEGIN_SKETCH else UNTOLD_FLAG | BARE_FLAG
    if after >= 0:
        buffer.events[0, FLAGS] |= flags
    return after, wrong


@inner
def _pass_heading(program, buffer, problem, tokens, pos, reading):
    """Read the heading that is due, if there is any. Return the position behind it, the first and the last form that
    may follow, and whether a plan's action may."""
    num, before = buffer.counts[0], np.int64(pos)
    in_plan = buffer.events[num - 1, KIND] == PLAN
    plan_due = program.present[BEGIN_PLAN] and not in_plan
    reading.scalars[HEADING_QUOTES] = 0
    if program.present[BEGIN_SEARCH] and num == 1:
        after, wrong = _pass_begin(program, buffer, problem, tokens, before, reading)
        if after >= 0:
            reading.scalars[HEADING_QUOTES] = wrong
            return after, FORM_EXPAND, FORM_LAST_END, False
    if plan_due:
        after, wrong = read_heading(program, BEGIN_PLAN, buffer.states[0], problem, tokens, before, reading)
        if after >= 0:
            reading.scalars[HEADING_QUOTES] = wrong
            return after, FORM_PLAN, FORM_PLAN, True
    if program.present[BEGIN_SEARCH] and num == 1:  # there may be no search, but for a plan's sake
        return before, FORM_PLAN, FORM_PLAN, not plan_due
    return before, FORM_EXPAND, FORM_LAST_END, not plan_due


@inlined
def next_form(program, buffer, problem, tokens, pos, reading):
    """Return the first form that reads the tokens at `pos`, behind its heading, and the position behind it, -1 if there
    is none."""
    reading.scalars[FURTHEST] = pos
    first, last, plans = FORM_EXPAND, FORM_LAST_END, True
    if buffer.counts[0] == 0:
        first, last = FORM_ROOT, FORM_ROOT
    elif program.headed:
        pos, first, last, plans = _pass_heading(program, buffer, problem, tokens, pos, reading)
    # One call site, because the reader is compiled into it.
    for form in range(first, last + 1):
        after = np.int64(read_form(program, form, problem, tokens, pos, reading))
        if after >= 0:
            return (form, after) if plans or form != FORM_PLAN else (0, np.int64(-1))
    return 0, np.int64(-1)
