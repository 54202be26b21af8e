"""What keeps a dialect from writing a trace: codes of the encoder, and their words."""

from __future__ import annotations

OK, NOT_AN_ANCESTOR, NOT_JUST_GENERATED, NO_END, NO_ROOM, NOT_EXPANDED, NO_PLAN, TWINS = 0, -1, -2, -3, -4, -5, -6, -7
NO_CHOICE, NOT_VISITED, NO_SKETCH = -8, -9, -10
ENCODE_ERRORS = {
    NOT_AN_ANCESTOR: "it writes a return as a depth and has no form 'jump', and the trace returns to a node that is no "
    "ancestor of the current one",
    NO_CHOICE: "it writes a return as a level and has no form 'jump', and the trace returns to a node that is not the "
    "last of its level on the way to the current one",
    NOT_JUST_GENERATED: "it expands the node generated last without naming it and has no form 'jump', and the trace "
    "expands another one",
    NOT_EXPANDED: "it has no form 'expand', so that a reader takes a node to be expanded as soon as it is generated, "
    "and the trace leaves one for later",
    NO_END: "it has no form 'end_empty', and the search ended with an empty frontier",
    TWINS: "it names nodes by their states, and one that was generated later is in the same state",
    NOT_VISITED: "it has no form 'goal', so that a reader takes a goal to be one when it is visited, and the trace "
    "calls one a goal before that",
    NO_SKETCH: "it has no form 'begin_sketch', or no form 'bare', and the trace is a sketch",
    NO_PLAN: "it was compiled without its form 'plan', and the trace has a plan",
}
