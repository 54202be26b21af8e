"""Distillation of a teacher's next-token distributions on what the student wrote: generalized Jensen-Shannon.

Agarwal et al. 2023 (GKD); Zhao et al. 2026 (OPSD, arXiv 2601.18734); SDPO (lasgroup). The published ones, as options:
GKD `temperature` 0.9; OPSD `support` teacher, temperature 1.1; SDPO's authors `support` student, `tail`, `ratio_max` 2,
beta 0.5; TRL's SDPO `support` sampled, beta 1, `ratio_max` 2, `aggregation` sequence_mean. TRL's IW-OPD takes `support`
teacher at beta 0, student at beta 1, else both, with `tail`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sos.errors import UserError
from sos.improve.losses import aggregate
from sos.improve.losses_options import Distillation

_DEFAULT = Distillation()
_FULL = -1e-7  # the log-mass of a support is never taken for more, so that the rest has one


def distillation_loss(
    student_BTV: Tensor,
    teacher_BTV: Tensor,
    mask_BT: Tensor,
    *,
    options: Distillation = _DEFAULT,
    ids_BT: Tensor | None = None,
    old_BT: Tensor | None = None,
    denominator: float | Tensor | None = None,
    scale: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss, a scalar whose gradient flows into the student's logits alone, and what is worth logging.

    Args:
        student_BTV, teacher_BTV: logits.
        mask_BT: bool, or 0 and 1: which places count.
        ids_BT: the tokens that were written, for `support` sampled and `ratio_max`.
        old_BT: their log-probabilities when they were written, for `ratio_max`.
        denominator, scale: as of `sos.improve.losses.policy_loss`.

    Metrics: divergence (mean over tokens; of `sampled` the mean of log S - log U, which estimates it), token_max (share
    of tokens that are cut), ratio (mean weight). Raises UserError for shapes that do not fit and for what is missing.
    """
    if student_BTV.ndim != 3 or teacher_BTV.shape != student_BTV.shape:
        raise UserError(
            f"the logits of student {tuple(student_BTV.shape)} and teacher {tuple(teacher_BTV.shape)} must be (B, T, V)"
        )
    if mask_BT.shape != student_BTV.shape[:2]:
        raise UserError(f"mask must have the shape {tuple(student_BTV.shape[:2])}, got {tuple(mask_BT.shape)}")
    mask = mask_BT.bool()
    blank = ~mask[..., None]
    student = (student_BTV.masked_fill(blank, 0) / options.temperature).log_softmax(-1)
    teacher = (teacher_BTV.detach().masked_fill(blank, 0) / options.temperature).log_softmax(-1)
    if options.support == "sampled":
        written, told = _of_written(student, ids_BT, mask), _of_written(teacher, ids_BT, mask)
        losses = (written - told).detach() * written
        shown = written.detach() - told
    else:
        losses = divergences(student, teacher, options)
        shown = losses.detach()
    tokens = mask.sum().clamp(min=1)
    metrics = {"divergence": (shown * mask).sum() / tokens}
    if options.token_max is not None:
        metrics["token_max"] = ((losses.detach() > options.token_max) & mask).sum() / tokens
        losses = losses.clamp(max=options.token_max)
    if options.ratio_max is not None:
        if old_BT is None:
            raise UserError(f"distillation.ratio_max={options.ratio_max:g} needs the old log-probabilities")
        steps = _of_written(student, ids_BT, mask).detach() - old_BT.masked_fill(~mask, 0)
        weights = steps.clamp(-20, 20).exp().clamp(max=options.ratio_max)
        metrics["ratio"] = (weights * mask).sum() / tokens
        losses = losses * weights
    return aggregate(losses, mask, options=options, denominator=denominator) * scale, metrics


def divergences(student_BTV: Tensor, teacher_BTV: Tensor, options: Distillation = _DEFAULT) -> Tensor:
    """Return the divergence at each place from log-probabilities, (B, T); O(B T V)."""
    counted = _support(student_BTV, teacher_BTV, options)
    if counted is None:
        return _sum(student_BTV, teacher_BTV, options.beta)
    student, teacher = (_restricted(found, counted, options.tail) for found in (student_BTV, teacher_BTV))
    if options.tail:
        counted = torch.cat([counted, torch.ones_like(counted[..., :1])], -1)
    return _sum(student, teacher, options.beta, counted)


def _sum(student: Tensor, teacher: Tensor, beta: float, counted: Tensor | None = None) -> Tensor:
    if beta == 0:
        terms = teacher.exp() * (teacher - student)
    elif beta == 1:
        terms = student.exp() * (student - teacher)
    else:
        share = torch.tensor(beta, dtype=student.dtype, device=student.device)
        mixed = torch.logaddexp(student + torch.log1p(-share), teacher + torch.log(share))
        terms = share * teacher.exp() * (teacher - mixed) + (1 - share) * student.exp() * (student - mixed)
    return (terms if counted is None else torch.where(counted, terms, 0)).sum(-1)


def _support(student: Tensor, teacher: Tensor, options: Distillation) -> Tensor | None:
    """Return which tokens count, bool (B, T, V); None for all."""
    if options.support == "all" or options.top_k >= student.shape[-1]:
        return None
    counted = torch.zeros_like(student, dtype=torch.bool)
    for name, found in (("student", student), ("teacher", teacher)):
        if options.support in (name, "both"):
            counted.scatter_(-1, found.detach().topk(options.top_k, -1).indices, True)
    return counted


def _restricted(found: Tensor, counted: Tensor, tail: bool) -> Tensor:
    """Return log-probabilities within the support, 0 outside; with the rest as one more token, or summing to 1."""
    mass = torch.where(counted, found, -torch.inf).logsumexp(-1, keepdim=True)
    if not tail:
        return torch.where(counted, found - mass, 0)
    rest = torch.log(-torch.expm1(mass.clamp(max=_FULL)))
    return torch.cat([torch.where(counted, found, 0), rest], -1)


def _of_written(found: Tensor, ids_BT: Tensor | None, mask: Tensor) -> Tensor:
    if ids_BT is None:
        raise UserError("the tokens that were written are needed")
    if ids_BT.shape != mask.shape:
        raise UserError(f"ids must have the shape {tuple(mask.shape)}, got {tuple(ids_BT.shape)}")
    return found.gather(-1, ids_BT.masked_fill(~mask, 0)[..., None].long())[..., 0]
