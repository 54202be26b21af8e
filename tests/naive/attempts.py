"""Where a failed attempt is cut, by replaying its events one by one, on whole numbers alone."""

from __future__ import annotations

from typing import Any

from naive.search import BACKTRACK, END, EXPAND, GENERATE, GOAL, successors
from naive.verify import verify


def first_wrong(env: Any, trace: Any) -> int:
    """The first event that is wrong, or the number of events."""
    for event, code in enumerate(verify(env, trace)[1]):
        if code:
            return event
    return len(trace.events)


def told(align: Any, event: int) -> list[int]:
    """The tokens that tell an event."""
    return [place for place, of in enumerate(align) if of == event]


def cut_before(align: Any, event: int, num_prompt: int) -> int:
    """The number of tokens up to the last one that tells an event before this one."""
    places = [place for earlier in range(event) for place in told(align, earlier)]
    return max([num_prompt, *(place + 1 for place in places)])


def sound_cut(env: Any, trace: Any, align: Any, num_prompt: int) -> int:
    """The cut of an attempt in which something is wrong."""
    event = first_wrong(env, trace)
    if event < len(trace.events):
        kind, node = int(trace.events[event][0]), int(trace.events[event][1])
        mentions = [e for e in range(event) if int(trace.events[e][1]) == node]
        if kind == GOAL and node > 0 and len(mentions) == 1 and int(trace.events[mentions[0]][0]) == GENERATE:
            event = mentions[0]
    return cut_before(align, event, num_prompt)


def children(env: Any, numbers: list[int]) -> list[list[int]]:
    """The numbers, sorted, behind every operation that the rules allow."""
    return [sorted(child) for _, child in successors(numbers, env.max_value)]


def give_ups(env: Any, trace: Any) -> list[int]:
    """The events with which a search without mistakes leaves a node that has something left to try: a walk that keeps
    the stack of open nodes."""
    numbers = {}
    for event in trace.events.tolist():
        if event[2] >= 0:
            row = trace.states[event[2]]
            numbers[event[1]] = sorted(int(n) for n in row[1 : 1 + int(row[0])])
    generated = list(numbers.values())
    rest = {node for node, own in numbers.items() if any(child not in generated for child in children(env, own))}
    visited, found, stack = {0}, [], [0]
    for e, (kind, node, *_) in enumerate(trace.events.tolist()):
        if e and kind == EXPAND:
            visited.add(node)
            while stack[-1] != int(trace.nodes[node][0]):
                stack.pop()
            stack.append(node)
        elif e and kind in (BACKTRACK, END):
            left = []
            while stack and not (kind == BACKTRACK and stack[-1] == node):
                left.append(stack.pop())
            if any(n in rest for n in left if n in visited):
                found.append(e)
    return found
