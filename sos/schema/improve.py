"""The schema of the config group `improve`: how a model that is trained already learns from its own rollouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sos.errors import UserError
from sos.schema.keys import check_keys, key, refuse_unused

BILLION = 10**9
NO_SHAPE = ("dropout", "kernels")  # keys of a model that do not decide how its weights look
NONE, NLL = "none", "nll"
POLICY_LOSSES = ("clip", "cispo", "reinforce")
LEARNING = (NLL, *POLICY_LOSSES)
# By their names in `sos.improve.selections`; those that keep some of a group.
KEEPING = (
    "shortest_solved",
    "first_correct",
    "random",
    "balanced",
    "roc_inverse",
    "roc_greedy",
    "reverse_roc",
    "filter_both",
)
SELECTIONS = ("all", "solved", *KEEPING)
ONLY_SOLVED = ("solved", "shortest_solved", "first_correct")
# What a stage of practice has no use for: it makes its own streams, and its budget is rounds.
OF_STREAMS = (
    "match",
    "train_tokens",
    "train_problems",
    "train_seconds",
    "num_problems",
    "prompt_loss",
    "length_warmup",
    "length_start",
    "block",
    "shards",
)


@dataclass
class ImproveConfig:
    """A round: draw problems, roll out, verify, select, weight, step."""

    loss: str = key(
        NONE,
        "What is learned from rollouts: none of them (pretraining), nll of those selected, or a loss of policy "
        "gradients.",
        choices=(NONE, *LEARNING),
    )
    rounds: int = key(100, "The rounds that are trained on, the budget.", low=1, high=BILLION, only={"loss": LEARNING})
    problems: int = key(32, "The problems of a round.", low=1, high=1_000_000, only={"loss": LEARNING})
    group: int = key(8, "The rollouts of a problem.", low=1, high=10_000, only={"loss": LEARNING})
    temperature: float = key(
        1.0, "The temperature of the rollouts.", above=0, low=0.001, high=1000, only={"loss": LEARNING}
    )
    max_tokens: int | None = key(
        None,
        "The tokens that a rollout may have; null takes what the context leaves.",
        low=1,
        high=BILLION,
        only={"loss": LEARNING},
    )
    reward: str = key(
        "exact",
        "What counts as solved: the exact verifier, or the published metric with its defects.",
        choices=("exact", "sos_legacy"),
        only={"loss": LEARNING},
    )
    selection: str = key(
        "all",
        "The rollouts that are learned from: all, the solved ones, or some of each problem's: see "
        "`sos.improve.selections`.",
        choices=SELECTIONS,
        only={"loss": LEARNING},
    )
    keep: int | None = key(
        None,
        "The rollouts of a problem that are kept; null is 1 for shortest_solved and first_correct, else half of them.",
        low=1,
        high=10_000,
        only={"selection": KEEPING},
    )
    drop_equal: bool = key(
        True, "Problems whose rollouts all have the same reward are left out.", only={"loss": POLICY_LOSSES}
    )
    baseline: str = key(
        "mean",
        "What the reward is compared with: the mean of the group, of its others, or weighted by length.",
        choices=("mean", "leave_one_out", "length_weighted", "none"),
        only={"loss": POLICY_LOSSES},
    )
    scale: str = key(
        "group",
        "What the advantage is divided by: the deviation of its group, or of the batch.",
        choices=("group", "batch", "none"),
        only={"loss": POLICY_LOSSES},
    )
    clip_low: float = key(
        0.2, "The ratio of the policies is clipped below 1 minus this.", low=0, high=1e9, only={"loss": POLICY_LOSSES}
    )
    clip_high: float = key(
        0.2, "The ratio is clipped above 1 plus this.", low=0, high=1e9, only={"loss": POLICY_LOSSES}
    )
    aggregation: str = key(
        "token_mean",
        "How the losses of tokens become one: their mean, the mean over rollouts of each one's mean, or the sum over "
        "rollouts times the context.",
        choices=("token_mean", "sequence_mean", "constant"),
        only={"loss": POLICY_LOSSES},
    )
    kl_weight: float = key(
        0.0, "The weight of the divergence from the start.", low=0, high=1e9, only={"loss": POLICY_LOSSES}
    )
    epochs: int = key(1, "How often a round is learned from.", low=1, high=10_000, only={"loss": LEARNING})
    minibatches: int = key(1, "The steps of an epoch.", low=1, high=100_000, only={"loss": LEARNING})
    from_start: bool = key(
        False,
        "Every round trains the weights of the start anew, as in STaR; else it goes on.",
        only={"loss": LEARNING},
    )

    def __post_init__(self) -> None:
        check_keys(self, "improve")
        refuse_unused(self, "improve")
        if not self.on:
            return
        if self.keep is not None and self.keep > self.group:
            raise UserError(f"improve.keep={self.keep} is more than improve.group={self.group}")
        if self.loss == NLL and self.selection not in ONLY_SOLVED:
            raise UserError(
                f"improve.loss=nll with improve.selection={self.selection} learns mistakes as it learns solutions; "
                f"choose one of {', '.join(ONLY_SOLVED)}"
            )
        kept = self.group if self.selection not in KEEPING else self.keep or self.group // 2
        if self.loss != NLL and self.baseline != "none" and kept < 2:
            raise UserError(
                f"improve.group={self.group}, of which {kept} is kept: improve.baseline={self.baseline} compares the "
                "rollouts of a problem, of which there must be two at least"
            )

    @property
    def on(self) -> bool:
        """Whether rollouts are what is learned from."""
        return self.loss != NONE

    @property
    def steps(self) -> int:
        """The optimizer steps of a round."""
        return self.epochs * self.minibatches


def unused_by_stage(config: Any, group: str, name: str) -> str | None:
    """Return why a key of another group has no use in a config, or None where `start` and `improve` leave it its
    use."""
    start, improve = getattr(config, "start", None), getattr(config, "improve", None)
    if start is not None and group == "model" and name not in NO_SHAPE:
        return f"has no use with start={start}: the model keeps the shape of its start"
    if improve is None or not improve.on:
        return None
    if (group == "data" and name in OF_STREAMS) or (group, name) == ("trainer", "batch_tokens"):
        return f"has no use with improve.loss={improve.loss}, whose budget is improve.rounds"
    return None
