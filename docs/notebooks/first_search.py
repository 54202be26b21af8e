# %% [markdown]
# # A first search
#
# A symbolic search becomes text, a verifier judges every step of it, and many searches make a data set. Nothing is trained here.

# %%
from collections import Counter

from matplotlib import pyplot as plt

import sos
from sos.trace import Event

plt.rcParams["figure.dpi"] = 80
answer = sos.solve({"nums": [9, 7, 1], "target": 56})
print(answer.text)
print("the way:", answer.path, "- nodes expanded:", answer.num_expanded)

# %% [markdown]
# `[ ` states the numbers of a node that is visited, `< 0` returns to depth 0, `? 56 x` says that a result is not the target, `? 56 !`
# that it is. The tree, with the way to the goal:

# %%
answer.figure()

# %% [markdown]
# The same problem searched in other ways, and shown as its solution path alone: what the ablation compares.

# %%
for words in (["search=dfs"], ["search=beam"], ["search=best_first"], ["stream.view=solution_path"]):
    shown = sos.solve([56, 9, 7, 1], "search.heuristic=sum", *words)
    print(f"{words[0]:26} {len(shown.tokens):4} tokens  {shown.text[:70]}")

# %% [markdown]
# A verifier replays any text exactly, and says what is wrong: here a result was changed.

# %%
wrong = sos.verify(answer.text.replace("9 - 1 = 8", "9 - 1 = 6").replace("8 * 7", "6 * 7"))
print("solved:", wrong.solved)
for mistake in wrong.mistakes:
    print(mistake.event, wrong.named(mistake), "-", mistake.text)

# %%
wrong.figure()

# %% [markdown]
# Many searches are a data set for torch. How long they are, and what share of their tokens tells which kind of event:

# %%
streams = sos.stream_dataset(visits=2000)
lengths = [len(stream["input_ids"]) for stream in streams]
kinds = Counter(Event(kind).name.lower() for stream in streams for kind in stream["kinds"].tolist())
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
left.hist(lengths, bins=40, color="#4C78A8")
left.set(xlabel="tokens of a stream", ylabel="streams", title=f"{len(streams)} streams of 2000 problems")
names, counts = zip(*kinds.most_common(), strict=True)
right.barh(names[::-1], [100 * count / sum(counts) for count in counts[::-1]], color="#4C78A8")
right.set(xlabel="% of all tokens", title="what the tokens tell")
figure.tight_layout()
plt.close(figure)
figure

# %% [markdown]
# `sos.save_page("page.html", [answer, wrong])` writes the page of `sos view`, which steps through a search with every mistake in words.
# Next: [an ablation in ten minutes](ablation.ipynb).
