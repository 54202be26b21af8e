"""Memory: what a model keeps of its experiences with one task, and is shown before another.

A stream of tasks is played in order: retrieve, answer with what was retrieved in the context slot, judge, extract,
append. Weights do not change. The form is ReasoningBank's (arXiv 2509.25140); what is kept are typed rules that are
mined (`sos.context.lessons`), and no language model writes them.

- `sos.memory.records`: a memory is a file of JSON lines with the published names of the fields.
- `sos.memory.tasks`: streams of tasks, with a hidden regularity or without.
- `sos.memory.arms`: what an arm keeps, and what it shows of it.
- `sos.memory.play`: one arm on one stream.
- `sos.memory.report`: success over the stream, differences paired over tasks, a table and a figure.
"""
