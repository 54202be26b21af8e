"""The options of two published implementations, TRL 1.16 and verl (b178a3c), said in ours: the same loss on a batch.

Both have defaults that surprise; they are kept, since whoever compares wants them. TRL's cispo takes epsilon_high as
the cap itself, so that its default caps every weight at 0.2. verl's vanilla is dual-clip, its gspo and sapo ignore
loss_agg_mode, and its clip_ratio alone changes nothing. TRL counts sequences without tokens, verl does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sos.errors import UserError
from sos.improve.losses_options import PolicyLoss
from sos.schema.keys import nearest


class Published(NamedTuple):
    """What `policy_loss` takes: `policy_loss(..., options=found.options, denominator=found.denominator, ...)`."""

    options: PolicyLoss
    denominator: float | None = None
    scale: float = 1.0


TRL_DEFAULTS: dict[str, Any] = {
    "loss_type": "dapo",
    "beta": 0.0,
    "epsilon": 0.2,
    "epsilon_high": None,
    "delta": None,
    "importance_sampling_level": "token",
    "max_completion_length": 512,
    "top_entropy_quantile": 1.0,
    "off_policy_mask_threshold": None,
    "use_bias_correction_kl": True,
    "entropy_coef": 0.0,
    "sapo_temperature_pos": 1.0,
    "sapo_temperature_neg": 1.05,
    "vespo_k_pos": 2.0,
    "vespo_lambda_pos": 3.0,
    "vespo_k_neg": 3.0,
    "vespo_lambda_neg": 2.0,
    "gradient_accumulation_steps": 1,
    "steps_per_generation": 1,
    "num_processes": 1,
    "num_items_in_batch": None,
}
VERL_DEFAULTS: dict[str, Any] = {
    "loss_mode": "vanilla",
    "clip_ratio": 0.2,
    "clip_ratio_low": 0.2,
    "clip_ratio_high": 0.2,
    "clip_ratio_c": 3.0,
    "loss_agg_mode": "token-mean",
    "loss_scale_factor": None,
    "entropy_coeff": 0.0,
    "use_kl_loss": False,
    "kl_loss_coef": 0.001,
    "kl_loss_type": "low_var_kl",
    "tau_pos": 1.0,
    "tau_neg": 1.05,
    "clip_cov_ratio": 0.0002,
    "clip_cov_lb": 1.0,
    "clip_cov_ub": 5.0,
    "kl_cov_ratio": 0.0002,
    "ppo_kl_coef": 0.1,
    "global_batch_info": {},
}
_TRL_CLIPPED = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo")
_TRL_AGGREGATIONS = {
    "grpo": "sequence_mean",
    "sapo": "sequence_mean",
    "dr_grpo": "constant",
    "luspo": "sequence_sum",
    "gmpo": "sequence",
}
_TRL_TOKENS = ("dapo", "cispo", "vespo")  # divided by the tokens of the generation batch
_VERL_AGGREGATIONS = {
    "token-mean": "token_mean",
    "seq-mean-token-sum": "sequence_sum",
    "seq-mean-token-mean": "sequence_mean",
    "seq-mean-token-sum-norm": "constant_sum",
}
VERL_KL = {"kl": "k1", "mse": "k2", "low_var_kl": "k3_clamped", "k3": "k3_clamped", "k3+": "k3+"}
_VERL_KINDS = {
    "vanilla": "clip",
    "gspo": "clip",
    "sapo": "sapo",
    "cispo": "cispo",
    "geo_mean": "gmpo",
    "gpg": "reinforce",
    "reinforce": "reinforce",
    "kl_cov": "kl_cov",
    "clip_cov": "clip_cov",
}


def trl(**options: Any) -> Published:
    """Return what TRL's `GRPOTrainer` does with these options, and loss_type gmpo what its `GMPOTrainer` does.

    `num_items_in_batch` are the tokens of a generation batch; without it those of the batch itself are taken. Raises
    UserError for an option that it does not have, and for impossible combinations.
    """
    given = _with_defaults("TRL", TRL_DEFAULTS, options)
    name, steps = given["loss_type"], given["gradient_accumulation_steps"]
    if name not in (*_TRL_CLIPPED, "cispo", "sapo", "vespo", "gmpo"):
        raise UserError(f"loss_type must be one of TRL's, got {name!r}")
    high = given["epsilon"] if given["epsilon_high"] is None else given["epsilon_high"]
    chosen: dict[str, Any] = {
        "kind": "clip" if name in _TRL_CLIPPED else name,
        "clip_low": 1.0 if name == "cispo" else given["epsilon"],
        "clip_high": high - 1 if name == "cispo" else high,
        "aggregation": _TRL_AGGREGATIONS.get(name, "token_mean"),
        "entropy_weight": given["entropy_coef"] / steps,
        "entropy_quantile": given["top_entropy_quantile"],
        "off_policy_max": given["off_policy_mask_threshold"],
        "kl_weight": given["beta"],
    }
    if name in (*_TRL_CLIPPED, "cispo", "sapo"):
        chosen["ratio"] = given["importance_sampling_level"]
    if name in _TRL_CLIPPED:
        chosen["ratio_max"] = given["delta"]
    if name == "sapo":
        chosen["temperature_positive"] = given["sapo_temperature_pos"]
        chosen["temperature_negative"] = given["sapo_temperature_neg"]
    if name == "vespo":
        for letter in ("k", "lambda"):
            chosen[f"{letter}_positive"] = given[f"vespo_{letter}_pos"]
            chosen[f"{letter}_negative"] = given[f"vespo_{letter}_neg"]
    if name == "dr_grpo":
        chosen["max_tokens"] = given["max_completion_length"]
    if given["beta"]:
        chosen["kl_by_ratio"] = given["use_bias_correction_kl"] and name != "gmpo"
    if name not in _TRL_TOKENS:
        return Published(PolicyLoss(**chosen), None, 1.0 / steps)
    tokens = given["num_items_in_batch"]
    part = steps / given["steps_per_generation"] / given["num_processes"]
    return Published(PolicyLoss(**chosen), *((None, 1 / part) if tokens is None else (max(1, tokens) * part, 1.0)))


def verl(**options: Any) -> Published:
    """Return what verl's actor does with these options; `global_batch_info` as its `agg_loss` takes it.

    Raises UserError for an option that it does not have, and for combinations that it has and we do not: KL or an
    entropy bonus that is summed otherwise than the loss.
    """
    given = _with_defaults("verl", VERL_DEFAULTS, options)
    mode = given["loss_mode"]
    if mode not in _VERL_KINDS:
        raise UserError(f"loss_mode must be one of {', '.join(_VERL_KINDS)}, got {mode!r}")
    how = "seq-mean-token-mean" if mode in ("gspo", "sapo") else given["loss_agg_mode"]
    kind = _VERL_KINDS[mode]
    chosen: dict[str, Any] = {"kind": kind, "entropy_weight": given["entropy_coeff"]}
    for side in ("low", "high"):
        chosen[f"clip_{side}"] = given[f"clip_ratio_{side}"]
        if chosen[f"clip_{side}"] is None:
            chosen[f"clip_{side}"] = given["clip_ratio"]
    if kind in ("clip", "sapo", "cispo"):
        chosen["log_ratio_max"] = 10.0 if mode == "gspo" else 20.0
    if mode == "gspo":
        chosen["ratio"] = "sequence_token"
    elif kind == "clip":
        chosen["dual_clip"] = given["clip_ratio_c"]
    if kind == "sapo":
        chosen |= {"temperature_positive": given["tau_pos"], "temperature_negative": given["tau_neg"]}
    if kind == "kl_cov":
        chosen |= {"covariance_ratio": given["kl_cov_ratio"], "kl_cov_weight": given["ppo_kl_coef"]}
    if kind == "clip_cov":
        chosen["covariance_ratio"] = given["clip_cov_ratio"]
        chosen |= {"covariance_low": given["clip_cov_lb"], "covariance_high": given["clip_cov_ub"]}
    if given["use_kl_loss"]:
        if how != given["loss_agg_mode"] or kind == "gmpo":
            raise UserError(f"use_kl_loss: the KL of loss_mode={mode} is summed otherwise than its loss")
        kl = given["kl_loss_type"]
        chosen |= {"kl_weight": given["kl_loss_coef"], "kl": VERL_KL.get(kl, kl)}
    if given["entropy_coeff"] and (how != "token-mean" or given["global_batch_info"]):
        raise UserError(f"entropy_coeff: the entropy of loss_agg_mode={how} is no mean over tokens")
    if kind == "gmpo":
        summed: dict[str, Any] = {"aggregation": "sequence", "count_empty": False, "length_epsilon": 1e-8}
        return Published(PolicyLoss(**chosen, **summed))
    info = {"loss_scale_factor": given["loss_scale_factor"]} | given["global_batch_info"]
    aggregation, denominator, scale = verl_aggregation(how, **info)
    return Published(PolicyLoss(**chosen, **aggregation), denominator, scale)


def verl_aggregation(
    loss_agg_mode: str,
    *,
    loss_scale_factor: int | None = None,
    dp_size: int = 1,
    batch_num_tokens: int | None = None,
    global_batch_size: int | None = None,
) -> tuple[dict[str, Any], float | None, float]:
    """Return (options, denominator, scale) that sum up as verl's `agg_loss` does."""
    if loss_agg_mode not in _VERL_AGGREGATIONS:
        raise UserError(f"loss_agg_mode must be one of {', '.join(_VERL_AGGREGATIONS)}, got {loss_agg_mode!r}")
    chosen: dict[str, Any] = {"aggregation": _VERL_AGGREGATIONS[loss_agg_mode]}
    if loss_agg_mode == "seq-mean-token-sum-norm":
        return chosen | {"max_tokens": loss_scale_factor}, None, 1.0
    if loss_agg_mode == "token-mean":
        return chosen, batch_num_tokens, float(dp_size)
    chosen["count_empty"] = False
    if loss_agg_mode == "seq-mean-token-mean":
        chosen["length_epsilon"] = 1e-8
    return chosen, global_batch_size, float(dp_size)


def _with_defaults(whose: str, defaults: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    for name in options:
        if name not in defaults:
            raise UserError(f"{whose} has no option {name!r} that changes its loss{nearest(name, list(defaults))}")
    return {**defaults, **options}
