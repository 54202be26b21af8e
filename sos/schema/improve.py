"""The schema of the config group `improve`: how a model that is trained already learns from its own rollouts."""

from __future__ import annotations

from dataclasses import dataclass

from sos.schema.improve_rules import check_anew, check_kept
from sos.schema.improve_words import (
    APA,
    BILLION,
    BLAMED,
    CORRECTED,
    DISTILLATION,
    EMA,
    FIXED,
    KEEPING,
    LEARNING,
    NLL,
    NODES,
    NONE,
    POLICY_LOSSES,
    POOL,
    SECOND,
    SELECTIONS,
    SOME_TOKENS,
    SUPPORTS,
    TEACHERS,
    WITH_CONTEXT,
)
from sos.schema.keys import check_keys, key, refuse_unused
from sos.schema.slot import CONTEXTS
from sos.schema.slot import NONE as NO_CONTEXT


@dataclass
class ImproveConfig:
    """A round: draw problems, roll out, verify, select, weight, step."""

    loss: str = key(
        NONE,
        "What is learned from rollouts: none of them (pretraining), nll of those selected, a loss of policy gradients, "
        "apa, advantages by a learned value, or distillation, what a teacher with a context says of them.",
        choices=(NONE, *LEARNING),
    )
    rounds: int = key(100, "The rounds that are trained on, the budget.", low=1, high=BILLION, only={"loss": LEARNING})
    problems: int = key(32, "The problems of a round.", low=1, high=1_000_000, only={"loss": LEARNING})
    classes: list[str] = key(
        [],
        "The problems by how many of 8 answers of the start are right: any of easy, medium, recoverable, latent and "
        "impossible, see `sos.improve.pool`; none takes them as they are drawn.",
        only={"loss": LEARNING},
        later=True,
    )
    pool: int = key(
        POOL,
        "The problems of which classes are measured.",
        low=1,
        high=1_000_000,
        only={"loss": LEARNING},
        later=True,
    )
    more_samples: int = key(
        256,
        "The answers that decide whether what 8 did not solve is recoverable.",
        low=1,
        high=100_000,
        only={"classes": None},
        later=True,
    )
    easy_share: float = key(
        0.0,
        "The share of a round's problems that are easy ones instead.",
        low=0,
        high=1,
        only={"classes": None},
        later=True,
    )
    prefix: float = key(
        0.0,
        "The share of a solution's nodes that stands behind each problem, and is not learned.",
        low=0,
        high=1,
        only={"loss": LEARNING},
        later=True,
    )
    gate: float = key(
        0.0,
        "The least share of problems that some and not all of 8 answers of the start solve; a run with fewer ends "
        "before it is trained.",
        low=0,
        high=1,
        only={"loss": LEARNING},
        later=True,
    )
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
        "What counts as solved: the exact verifier, or the published metric with its defects; nodes is the former, "
        "minus the share of most_nodes that was expanded.",
        choices=("exact", "sos_legacy", NODES),
        only={"loss": LEARNING},
    )
    most_nodes: int = key(
        1152,
        "Expanded nodes with which an answer is worth nothing.",
        low=1,
        high=BILLION,
        only={"reward": (NODES,)},
        later=True,
    )
    penalty: float = key(
        0.0,
        "What the share of wrong operations takes off the reward, right or wrong.",
        low=0,
        below=1,
        only={"loss": LEARNING},
        later=True,
    )
    selection: str = key(
        "all",
        "The rollouts that are learned from: all, the solved ones, those of them without a mistake on the way (clean), "
        "or some of each problem's: see "
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
    blame: str = key(
        "answer",
        "Who bears an advantage below 0: all tokens of an answer, or those of its mistakes alone (steps that the "
        "verifier finds wrong, without the goal that they lead to).",
        choices=BLAMED,
        only={"loss": POLICY_LOSSES},
        later=True,
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
        only={"loss": (*POLICY_LOSSES, DISTILLATION)},
    )
    kl_weight: float = key(
        0.0,
        "The weight of the divergence from the start, of apa its first weight.",
        low=0,
        high=1e9,
        only={"loss": (*POLICY_LOSSES, APA)},
    )
    kl_target: float | None = key(
        None,
        "The divergence of a token to which the weight is adapted; null leaves it.",
        above=0,
        high=1e9,
        only={"loss": (APA,), "kl_weight": None},
        later=True,
    )
    kl_horizon: int = key(
        10_000, "The rollouts over which it adapts.", low=1, high=10**12, only={"kl_target": None}, later=True
    )
    form: str = key(
        "square",
        "Of apa: the squared distance of the log-ratio from the advantage, or the likelihood weighted by its exponent.",
        choices=("square", "log"),
        only={"loss": (APA,)},
        later=True,
    )
    coefficient: float = key(
        0.5, "What multiplies the advantage in it.", above=0, high=1e9, only={"loss": (APA,)}, later=True
    )
    anchor: str = key(
        "policy",
        "Whose log-probabilities the ratio is to: of the policy that wrote the rollouts (the paper), or of the "
        "reference (the released code).",
        choices=("policy", "reference"),
        only={"loss": (APA,), "form": ("square",)},
        later=True,
    )
    value: str = key(
        "head",
        "What says the value of a token: a head on the model, or a network of its own that begins as the start.",
        choices=("head", "network"),
        only={"loss": (APA,)},
        later=True,
    )
    value_weight: float = key(
        10.0, "The weight of half the squared error of the values.", low=0, high=1e9, only={"loss": (APA,)}, later=True
    )
    gamma: float = key(1.0, "The discount of a token.", low=0, high=1, only={"loss": (APA,)}, later=True)
    lam: float = key(0.95, "The lambda of advantages by values.", low=0, high=1, only={"loss": (APA,)}, later=True)
    whiten_padding: bool = key(
        False,
        "Places behind the end of a rollout count in the mean and the deviation of advantages (the released code).",
        only={"loss": (APA,)},
        later=True,
    )
    plateau: int | None = key(
        None,
        "The reference becomes the policy where this many rounds brought no more reward than as many before them; "
        "null keeps the start.",
        low=1,
        high=100_000,
        only={"loss": (APA,)},
        later=True,
    )
    epochs: int = key(1, "How often a round is learned from.", low=1, high=10_000, only={"loss": LEARNING})
    minibatches: int = key(1, "The steps of an epoch.", low=1, high=100_000, only={"loss": LEARNING})
    guided: bool = key(
        False,
        "Wrong answers are written anew with a solution's nodes as landmarks in them: see `sos.improve.guided`.",
        only={"loss": (NLL,)},
        later=True,
    )
    corrected: str = key(
        NONE,
        "What is written anew by the rules, before the model goes on from there: nothing, mistakes, or with them steps "
        "that the search took before (repeats), see `sos.improve.corrected`.",
        choices=CORRECTED,
        only={"loss": (NLL,)},
        later=True,
    )
    second: str = key(
        "none",
        "How wrong answers are tried a second time: never, from the problem alone, from the last sound place, with "
        "another first action, at random one of these two, or by rule: see `sos.improve.attempts`. What is kept of the "
        "first attempt is not learned.",
        choices=("none", *SECOND),
        only={"loss": (NLL,)},
        later=True,
    )
    from_start: bool = key(
        False,
        "Every round trains the weights of the start anew, as in STaR; else it goes on.",
        only={"loss": LEARNING},
    )
    context: str = key(
        NO_CONTEXT,
        "What stands before a problem, by the names of eval.context: of nll where the answers are written, which are "
        "learned without it; of distillation where the teacher reads them.",
        choices=(NO_CONTEXT, *CONTEXTS),
        only={"loss": WITH_CONTEXT},
        later=True,
    )
    examples: int | None = key(
        None,
        "A round is trained on just as many of the selected answers, those of its first problems; one with fewer is "
        "skipped.",
        low=1,
        high=BILLION,
        only={"loss": (NLL,)},
        later=True,
    )
    most_tokens: int | None = key(
        None,
        "A round is trained on the selected answers of its first problems that have as many written tokens together.",
        low=1,
        high=BILLION,
        only={"loss": (NLL,)},
        later=True,
    )
    teacher: str = key(
        FIXED,
        "Who scores what the student wrote: the start, an exponential moving average of the student, or the student "
        "itself as it is (live), each behind the context.",
        choices=TEACHERS,
        only={"loss": (DISTILLATION,)},
        later=True,
    )
    teacher_rate: float = key(
        0.05, "What a step moves the ema towards the student.", above=0, high=1, only={"teacher": (EMA,)}, later=True
    )
    beta: float = key(
        0.5,
        "The divergence: 0 is KL(teacher || student), 1 KL(student || teacher), between them Jensen-Shannon.",
        low=0,
        high=1,
        only={"loss": (DISTILLATION,)},
        later=True,
    )
    support: str = key(
        "all",
        "The tokens in it: all, the top_k likeliest of the student, of the teacher or of both, or the written one.",
        choices=SUPPORTS,
        only={"loss": (DISTILLATION,)},
        later=True,
    )
    top_k: int = key(100, "How many are the likeliest.", low=1, high=BILLION, only={"support": SOME_TOKENS}, later=True)
    tail: bool = key(False, "The other tokens are one more.", only={"support": SOME_TOKENS}, later=True)
    token_max: float | None = key(
        None,
        "The divergence of a token is at most this.",
        above=0,
        high=1e9,
        only={"loss": (DISTILLATION,)},
        later=True,
    )
    ratio_max: float | None = key(
        None,
        "A token's divergence is weighted by the ratio of the policy to the one that wrote it, at most this.",
        above=0,
        high=1e9,
        only={"loss": (DISTILLATION,)},
        later=True,
    )

    def __post_init__(self) -> None:
        check_keys(self, "improve")
        refuse_unused(self, "improve")
        if not self.on:
            return
        check_kept(self)
        check_anew(self)

    @property
    def on(self) -> bool:
        """Whether rollouts are what is learned from."""
        return self.loss != NONE

    @property
    def writes_anew(self) -> bool:
        """Whether some of the answers are written a second time, in part or whole."""
        return self.guided or self.corrected != NONE or self.second != NONE

    @property
    def profiles(self) -> bool:
        """Whether the start is asked how often it solves problems, before anything is trained."""
        return bool(self.classes) or self.gate > 0

    @property
    def has_reference(self) -> bool:
        """Whether a policy that is not trained is compared with."""
        return self.on and (self.kl_weight > 0 or self.anchor == "reference")

    @property
    def needs_old(self) -> bool:
        """Whether the loss asks what its tokens cost the policy that wrote them. With one step, that is the policy."""
        if self.loss == DISTILLATION:
            return self.ratio_max is not None
        return self.loss == APA or (self.loss in POLICY_LOSSES and self.steps > 1)

    @property
    def steps(self) -> int:
        """The optimizer steps of a round."""
        return self.epochs * self.minibatches
