# %% [markdown]
# # An ablation in ten minutes
#
# Are the wrong turns worth anything? Stars of two arms: from the middle, which arm leads to the target? Whoever is shown the
# right path alone has to guess the first step; whoever is shown the search walks an arm and returns. Two arms of the experiment,
# two seeds each, small models on a CPU.

# %%
import os

from matplotlib import pyplot as plt

import sos
from sos.analysis.compare import compare
from sos.analysis.tables import markdown

plt.rcParams["figure.dpi"] = 80
TOKENS = int(os.environ.get("SOS_NOTEBOOK_TOKENS", 1_000_000))
TASK = [
    "experiment=path_star",
    "env.num_arms=2",
    "env.arm_nodes=3",
    "env.min_arm_nodes=0",
    "env.num_labels=8",
    "stream.whole_max=9",
]
SIZE = ["data.context=64", "model.num_layers=2", "model.width=32", "model.num_heads=2", "trainer.batch_tokens=512"]
LENGTH = [f"data.train_tokens={TOKENS}", "data.block=256", "trainer.probe_every=0.1", "trainer.log_every=5"]
EVAL = ["eval.num_problems=200", "eval.pass_k=[]"]
SETTINGS = [*TASK, *SIZE, *LENGTH, *EVAL]

# %% [markdown]
# What a model is shown, in both arms, of the first unseen problem whose search takes a wrong turn:

# %%
VIEWS = ("full", "solution_path")
unseen = [stream["input_ids"].numpy() for stream in sos.stream_dataset(*SETTINGS, split="val", visits=16)]
for row in (sos.verify(tokens, *SETTINGS).problem for tokens in unseen):
    shown = {view: sos.solve(row, *SETTINGS, f"stream.view={view}").text for view in VIEWS}
    if shown["full"] != shown["solution_path"]:
        break
for view in VIEWS:
    print(f"{view:14} {shown[view]}")

# %% [markdown]
# Four runs, each a folder like any other. A run that is there already is loaded.

# %%
runs = {
    (view, seed): sos.pretrain(*SETTINGS, f"stream.view={view}", f"seed={seed}", folder=f"runs/{view}_{seed}")
    for view in VIEWS
    for seed in (1, 2)
}
for (view, seed), run in runs.items():
    print(f"{view:14} seed {seed}: {run.metrics['solve/val']:.0%} of unseen problems solved")

# %% [markdown]
# The comparison has intervals over seeds and over problems; it is what `sos compare` prints.

# %%
loaded = sos.load_runs([f"{view}={run.folder}" for (view, _), run in runs.items()])
comparison = compare(loaded)
print(markdown(comparison))

# %%
figure, axes = plt.subplots(figsize=(5, 2.4))
for height, view in enumerate(("solution_path", "full")):
    rates = [100 * runs[view, seed].metrics["solve/val"] for seed in (1, 2)]
    axes.barh(height, sum(rates) / len(rates), color="#C9CDD2")
    axes.plot(rates, [height] * len(rates), "o", color="#4C78A8")
axes.axvline(50, linestyle=":", color="#777777")
axes.set(
    yticks=[0, 1],
    yticklabels=["solution path", "whole search"],
    xlim=(0, 100),
    xlabel="% solved, a dot per seed; dotted: a guess",
)
figure.tight_layout()
plt.close(figure)
figure

# %% [markdown]
# What a model of each arm writes on one problem, judged step by step:

# %%
for view in VIEWS:
    answer = runs[view, 1].rollout([row])[0]
    print(f"{view:14} {'solved' if answer.solved else 'not solved'}: {answer.text}")

# %% [markdown]
# The sweep over seven tasks is `python train.py -m +sweep=environments`; its table stands in
# [environments.md](../environments.md#are-the-mistakes-worth-anything-one-table). Next: [your own environment](own_environment.ipynb).
