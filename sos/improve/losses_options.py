"""What the losses of `sos.improve.losses` can be told: schemas of plain values, which import no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sos.errors import UserError
from sos.schema.keys import as_typed, check_keys, key, refuse_unused

KINDS = ("clip", "cispo", "sapo", "vespo", "gmpo", "reinforce", "kl_cov", "clip_cov")
RATIOS = ("token", "sequence", "sequence_token", "product")
AGGREGATIONS = ("token_mean", "sequence_mean", "sequence_sum", "constant", "constant_sum", "sequence")
KL_ESTIMATORS = ("k1", "k2", "k3", "k3_clamped", "abs", "k1+", "k3+")
SUPPORTS = ("all", "student", "teacher", "both", "sampled")
APA_FORMS = ("square", "log")
ANCHORS = ("policy", "reference")
COVARIANCE = ("kl_cov", "clip_cov")
BIG = 1e9


class Aggregation(Protocol):
    """How the values of tokens become one number; see `PolicyLoss`."""

    @property
    def aggregation(self) -> str:
        """One of `AGGREGATIONS`."""

    @property
    def max_tokens(self) -> int | None:
        """The constant that divides; None is the width of the batch."""

    @property
    def count_empty(self) -> bool:
        """Sequences without a token count in a mean over sequences."""

    @property
    def length_epsilon(self) -> float:
        """Added to the length that divides a sequence's sum."""


@dataclass(frozen=True)
class PolicyLoss:
    """A loss of policy gradients by its parts: a ratio, what is done to it, and how tokens become one number.

    kind, with q the ratio of the policies, A the advantage, sg what no gradient flows through:
        clip       -min(q A, clip(q) A) (PPO, GRPO; with `ratio` sequence GSPO)
        cispo      -sg(clip(q)) A log pi
        sapo       -4/T sigmoid(T (q - 1)) A, T by the sign of A
        vespo      -sg(phi(w)) A log pi, phi(w) = exp(l) w^k exp(-l w), w the clamped ratio of the whole sequence
        gmpo       -A exp(mean over tokens of log q, clipped on the side that A's sign asks for); log q is clipped
        reinforce  -A log pi
        kl_cov     -q A, plus `kl_cov_weight` |log q| at the tokens of largest covariance of A and log pi
        clip_cov   clip, and no loss at tokens whose covariance lies between the bounds
    """

    kind: str = key("clip", "What is made of the ratio and the advantage.", choices=KINDS)
    ratio: str = key(
        "token",
        "The ratio of a token, of a sequence (exp of the mean log-ratio), the latter with gradients by token, or the "
        "product over a sequence.",
        choices=RATIOS,
        only={"kind": ["clip", "cispo", "sapo"]},
    )
    clip_low: float = key(
        0.2, "The ratio is clipped below 1 minus this (log-ratios of gmpo below its negative).", low=0, high=BIG
    )
    clip_high: float = key(
        0.2, "The ratio is clipped above 1 plus this (log-ratios of gmpo above it).", above=-1, high=BIG
    )
    ratio_max: float | None = key(
        None, "The ratio never counts more, clipped or not (TRL's delta).", above=0, high=BIG, only={"kind": ["clip"]}
    )
    dual_clip: float | None = key(
        None,
        "With a negative advantage A the loss is at most this times |A|.",
        above=1,
        high=BIG,
        only={"kind": ["clip"]},
    )
    log_ratio_max: float | None = key(
        None,
        "Log-ratios are clamped to plus or minus this; those of sequence_token from above alone.",
        above=0,
        high=80,
    )
    temperature_positive: float = key(1.0, "T where A > 0.", above=0, high=BIG, only={"kind": ["sapo"]})
    temperature_negative: float = key(1.05, "T elsewhere.", above=0, high=BIG, only={"kind": ["sapo"]})
    k_positive: float = key(2.0, "k where A >= 0.", low=0, high=BIG, only={"kind": ["vespo"]})
    lambda_positive: float = key(3.0, "l where A >= 0.", low=0, high=BIG, only={"kind": ["vespo"]})
    k_negative: float = key(3.0, "k elsewhere.", low=0, high=BIG, only={"kind": ["vespo"]})
    lambda_negative: float = key(2.0, "l elsewhere.", low=0, high=BIG, only={"kind": ["vespo"]})
    covariance_ratio: float = key(
        0.0002,
        "The share of the tokens that is chosen by covariance, of one at least.",
        above=0,
        high=1,
        only={"kind": COVARIANCE},
    )
    kl_cov_weight: float = key(
        0.1, "The weight of |log q| at those tokens.", low=0, high=BIG, only={"kind": ["kl_cov"]}
    )
    covariance_low: float = key(1.0, "Covariances above this ...", low=-BIG, high=BIG, only={"kind": ["clip_cov"]})
    covariance_high: float = key(
        5.0, "... and below this can be chosen.", low=-BIG, high=BIG, only={"kind": ["clip_cov"]}
    )
    aggregation: str = key(
        "token_mean",
        "The mean over tokens; per sequence the mean (sequence_mean) or the sum (sequence_sum) and the mean over "
        "sequences; the sum over sequences x max_tokens (constant) or over max_tokens (constant_sum); the mean over "
        "sequences of losses that are per sequence (sequence).",
        choices=AGGREGATIONS,
    )
    max_tokens: int | None = key(
        None,
        "The constant that divides; null is the width of the batch.",
        low=1,
        high=10**9,
        only={"aggregation": ["constant", "constant_sum"]},
    )
    count_empty: bool = key(True, "Sequences without a token count in a mean over sequences.")
    length_epsilon: float = key(0.0, "What is added to the length that divides a sequence's sum.", low=0, high=1)
    kl_weight: float = key(0.0, "The weight of the divergence from the reference policy.", low=0, high=BIG)
    kl: str = key("k3", "Its estimator; + has the gradient of k2.", choices=KL_ESTIMATORS, only={"kl_weight": None})
    kl_by_ratio: bool = key(
        False, "The estimate is multiplied by the ratio, through which gradients flow.", only={"kl_weight": None}
    )
    entropy_weight: float = key(0.0, "The weight of the entropy bonus.", low=0, high=BIG)
    entropy_quantile: float = key(1.0, "The share of tokens, of highest entropy, that has a loss.", above=0, high=1)
    off_policy_max: float | None = key(
        None,
        "With a negative advantage, sequences whose mean of old minus new log-probabilities is more have no loss.",
        low=0,
        high=BIG,
    )

    def __post_init__(self) -> None:
        check_keys(self, "loss")
        refuse_unused(self, "loss")
        if self.aggregation == "sequence" and self.kind != "gmpo" and self.ratio not in ("sequence", "product"):
            raise UserError(
                f"loss.aggregation=sequence needs losses per sequence: loss.kind=gmpo, or loss.ratio=sequence or "
                f"product, not loss.kind={self.kind} with loss.ratio={self.ratio}"
            )
        if self.kind == "gmpo" and self.aggregation != "sequence":
            raise UserError(
                f"loss.kind=gmpo has one loss per sequence: loss.aggregation=sequence, got {self.aggregation}"
            )
        if self.kind == "gmpo" and self.kl_by_ratio:
            raise UserError("loss.kl_by_ratio=true has no use with loss.kind=gmpo")
        if self.aggregation == "sequence" and self.kind != "gmpo" and self.entropy_quantile < 1:
            raise UserError(
                f"loss.entropy_quantile={self.entropy_quantile:g} chooses tokens; loss.aggregation=sequence has none"
            )
        if self.kind == "clip_cov" and not self.covariance_low < self.covariance_high:
            raise UserError(
                f"loss.covariance_low={as_typed(self.covariance_low)} must be below loss.covariance_high="
                f"{as_typed(self.covariance_high)}"
            )


@dataclass(frozen=True)
class APALoss:
    """Advantage-induced policy alignment (Zhu et al. 2023) and its value head, with the defaults of kanishkg/RLHF-APA.

    form, with c the coefficient: square is the mean of (log pi - log pi_old - c A)^2, log the mean of -exp(c A) log pi.
    """

    form: str = key("square", "The form of the loss.", choices=APA_FORMS)
    coefficient: float = key(0.5, "c, the inverse of the paper's lambda.", above=0, high=BIG)
    anchor: str = key(
        "policy",
        "Whose log-probabilities are pi_old: those of the policy that wrote the rollouts (the paper), or the reference "
        "policy's (the released code).",
        choices=ANCHORS,
        only={"form": ["square"]},
    )
    value_weight: float = key(10.0, "The weight of half the squared error of the values.", low=0, high=BIG)
    gamma: float = key(1.0, "The discount of a token.", low=0, high=1)
    lam: float = key(0.95, "The lambda of generalized advantage estimation.", low=0, high=1)
    whiten_padding: bool = key(
        False, "Places without a token count in the mean and the deviation of advantages (the released code)."
    )
    kl_weight: float = key(0.0, "The first weight of a penalty on the divergence from the reference.", low=0, high=BIG)
    kl_target: float | None = key(
        None, "The divergence that the weight is adapted to.", above=0, high=BIG, only={"kl_weight": None}
    )
    kl_horizon: int = key(10_000, "The rollouts over which it adapts.", low=1, high=10**12, only={"kl_target": None})

    def __post_init__(self) -> None:
        check_keys(self, "loss")
        refuse_unused(self, "loss")


@dataclass(frozen=True)
class Distillation:
    """The divergence of a student's next token from a teacher's (Agarwal et al. 2023), S student, U teacher.

    beta 0 is KL(U || S), beta 1 KL(S || U), and between them beta KL(U || M) + (1 - beta) KL(S || M) with M =
    (1 - beta) S + beta U: near beta 0 it is near 0, and not near KL(U || S). A token's divergence is a sum over the
    support.
    """

    beta: float = key(0.5, "Between the forward (0) and the reverse (1) divergence.", low=0, high=1)
    temperature: float = key(1.0, "What divides both logits.", above=0, high=1000)
    support: str = key(
        "all",
        "The tokens that count: all, the most likely ones of the student, of the teacher or of both, or the one "
        "that was written (whose gradient is that of beta 1).",
        choices=SUPPORTS,
    )
    top_k: int = key(
        100, "How many are the most likely ones.", low=1, high=10**9, only={"support": ["student", "teacher", "both"]}
    )
    tail: bool = key(
        False,
        "The other tokens are one more, with all their mass; else the chosen ones are made to sum to 1.",
        only={"support": ["student", "teacher", "both"]},
    )
    token_max: float | None = key(None, "A token's divergence counts at most this.", above=0, high=BIG)
    ratio_max: float | None = key(
        None, "A token's divergence is weighted by the ratio of the policies, at most this.", above=0, high=BIG
    )
    aggregation: str = key(
        "token_mean", "As of a policy's loss.", choices=[name for name in AGGREGATIONS if name != "sequence"]
    )
    max_tokens: int | None = key(
        None, "As of a policy's loss.", low=1, high=10**9, only={"aggregation": ["constant", "constant_sum"]}
    )
    count_empty: bool = key(True, "As of a policy's loss.")
    length_epsilon: float = key(0.0, "As of a policy's loss.", low=0, high=1)

    def __post_init__(self) -> None:
        check_keys(self, "distillation")
        refuse_unused(self, "distillation")
        if self.support == "sampled" and self.beta != 1:
            raise UserError(f"distillation.support=sampled has the gradient of beta=1 alone, got beta={self.beta:g}")
