# %% [markdown]
# # Your own environment
#
# `sos init` writes a small project: an environment in one file, its dialect, its configs and a test. Here it is read, searched
# and turned into training data; nothing of the package changes.

# %%
import os
import sys
from pathlib import Path

from matplotlib import pyplot as plt

import sos
from sos.commands.cli import call

plt.rcParams["figure.dpi"] = 80
call("init", ["stairs"])
sys.path.insert(0, str(Path("stairs").resolve()))
source = Path("stairs/climb/__init__.py").read_text()
print(source[: source.index("@dataclass")])

# %% [markdown]
# The rules are a few compiled functions, each for a question of `sos.envs.protocol`: which moves are there, what do they make,
# does a claimed move hold, is this the goal.

# %%
print(source[source.index("@implements(protocol.status") : source.index("@implements(protocol.canonical")])

# %% [markdown]
# How a search is written is data: a template for each kind of event.

# %%
print(Path("stairs/climb/dialects/compact.yaml").read_text())

# %%
CLIMB = [
    "env.name=climb:climb",
    "search=dfs",
    "search.heuristic=none",
    "stream=compact",
    "stream.whole_max=80",
    "data.context=256",
]
answer = sos.solve("[3,21]", *CLIMB)
print(answer.text)
print(answer.path)

# %%
answer.figure()

# %% [markdown]
# The verifier knows no rules: it asks the environment. A step that is wrong is found in any environment.

# %%
wrong = sos.verify(answer.text.replace("up 9", "up 8", 1), *CLIMB)
print(wrong.solved, [(wrong.named(m), m.text) for m in wrong.mistakes][:2])

# %% [markdown]
# Data and a model come with it. A heuristic, a search, a view: [extending.md](../extending.md).

# %%
streams = sos.stream_dataset(*CLIMB, visits=200)
print(len(streams), "streams, the longest of", max(len(stream["input_ids"]) for stream in streams), "tokens")

# %%
TOKENS = int(os.environ.get("SOS_NOTEBOOK_TOKENS", 200_000))
small = [
    "model.num_layers=2",
    "model.width=32",
    "model.num_heads=2",
    "optim.lr=0.01",
    "trainer.batch_tokens=2048",
    "trainer.probe_every=0",
]
short = [
    f"data.train_tokens={TOKENS}",
    "data.block=256",
    "eval.splits=[val]",
    "eval.num_problems=100",
    "eval.pass_k=[]",
]
run = sos.pretrain(*CLIMB, *small, *short, folder="runs/climb")
print(run.evaluate().table())
