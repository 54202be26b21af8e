"""The context: what stands between `<bos>` and the problem, such as a hint.

A stream that has one reads `<bos> <context> ITEM ... </context>`, and goes on with the problem as any other. An item is
a token of its own, which says its kind and, of a hint, its dose, and a body in the words of the dialect: actions, a
whole stream, a lesson, or filler. The tokens of the slot stand behind those of the dialect and exist where the slot is
on (`sos.context.vocab`); a dialect's program, its encoder and its reader do not know them, so that streams without a
slot keep their bytes, and one with a context is the same stream behind a prefix, which a scan for `</context>` takes
off (`sos.stream.slot`). It is prompt: neither it nor the problem is in the loss.

- `sos.context.items`: items are rows. A hint's dose is taken from a plan, which is rows of actions, or from a trace;
  what a dose leaves out of an action is -1. Which fields are results and classes, an environment says.
- `sos.context.lessons`: typed rules, which are mined from searches, and what they say of a problem.
- `sos.context.forms`: rows to tokens and back. The reader takes any integers, and calls sound what it would write.
- `sos.context.draws`: which context stream i has, if any: a pure function of (seed, name of the stream, i).

Searches and problems of others come from the room above: `sos.data.contexts`. A problem without a plan has no hint: its
stream has no context, and who asks for the hint of just this problem gets an error.
"""
