"""The last norm, the head and the cross-entropy, forward and backward, of some rows: float32 on the CPU.

Only tokens with a target are multiplied by the head. Shape suffixes as in `sos.model.gpt`; N tokens have a target.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sos.model.cpu.layers import NormGradients, exp_negative, norm_rows, norm_rows_backward
from sos.model.cpu.threads import as_arrays
from sos.model.cpu.vectors import (
    LANES,
    fast_kernel,
    larger,
    largest_of,
    load,
    load_first,
    spread,
    store_first,
    sum_of,
)


class LossValues(NamedTuple):
    """What the forward pass leaves for the backward pass."""

    indices_N: Tensor  # of the tokens with a target
    targets_N: Tensor
    x_NC: Tensor
    logits_NV: Tensor
    lse_N: Tensor


@fast_kernel
def _cross_entropy(logits_NV, targets_N, lse_N, losses_N):
    """Write the log of the sum of exponentials of each row, and minus the log-probability of its target."""
    num, size = logits_NV.shape
    whole = size // LANES * LANES
    for n in range(num):
        logits = logits_NV[n]
        most = spread(np.float32(-np.inf))
        for v in range(0, whole, LANES):
            most = larger(most, load(logits, v))
        largest = largest_of(most)
        for v in range(whole, size):
            largest = larger(largest, logits[v])
        totals = spread(np.float32(0))
        for v in range(0, whole, LANES):
            totals = totals + exp_negative(load(logits, v) - largest)
        total = sum_of(totals)
        for v in range(whole, size):
            total += exp_negative(logits[v] - largest)
        lse_N[n] = largest + np.log(total)
        losses_N[n] = lse_N[n] - logits[targets_N[n]]


@fast_kernel
def _cross_entropy_backward(logits_NV, targets_N, lse_N, grad_N, dlogits_NV):
    """Write the gradient of the logits, given that of the losses."""
    num, size = logits_NV.shape
    for n in range(num):
        logits, dlogits, grad, lse = logits_NV[n], dlogits_NV[n], grad_N[n], lse_N[n]
        for v in range(0, size, LANES):
            store_first(dlogits, v, exp_negative(load_first(logits, v, size - v) - lse) * grad, size - v)
        dlogits[targets_N[n]] -= grad


def forward_rows(x_NC: Tensor, gain_C: Tensor, head_VC: Tensor, targets_N: Tensor) -> tuple[Tensor, LossValues]:
    """Return the losses of all tokens, 0 where a target is negative, and what the backward pass needs.

    x_NC: the residual stream after all blocks. targets_N: int64. Here N are all tokens.
    """
    losses = torch.zeros(len(targets_N))
    indices_N = (targets_N >= 0).nonzero()[:, 0]
    x_NC, targets_N = x_NC.index_select(0, indices_N), targets_N[indices_N]
    if len(targets_N) and (largest := int(targets_N.max())) >= len(head_VC):
        raise IndexError(f"target {largest} is out of bounds for a vocabulary of {len(head_VC)}")
    num, width = x_NC.shape
    logits_NV, lse_N, losses_N = torch.empty(num, len(head_VC)), torch.empty(num), torch.empty(num)
    normed_NC = torch.empty(num, width)
    norm_rows(0, 1, *as_arrays(x_NC[None], gain_C, normed_NC[None]))
    torch.mm(normed_NC, head_VC.t(), out=logits_NV)
    _cross_entropy(*as_arrays(logits_NV, targets_N, lse_N, losses_N))
    losses.index_copy_(0, indices_N, losses_N)
    return losses, LossValues(indices_N, targets_N, x_NC, logits_NV, lse_N)


def backward_rows(
    grad_N: Tensor,
    gain_C: Tensor,
    head_VC: Tensor,
    values: LossValues,
    dx_NC: Tensor,
    dgain_C: Tensor,
    dhead_VC: Tensor,
) -> None:
    """Write the gradients of the residual stream, the gain and the head, given that of the losses of all tokens."""
    indices_N, targets_N, x_NC, logits_NV, lse_N = values
    grad_N = grad_N[indices_N]
    change_NC, dlogits_NV, normed_NC = torch.empty_like(x_NC), torch.empty_like(logits_NV), torch.empty_like(x_NC)
    _cross_entropy_backward(*as_arrays(logits_NV, targets_N, lse_N, grad_N, dlogits_NV))
    torch.mm(dlogits_NV, head_VC, out=change_NC)
    # The norm's backward pass adds to what skips the norm. Nothing does here, so it adds to zeros.
    own_NC = torch.zeros_like(x_NC)
    x, gain, change, own, dgain, normed = as_arrays(
        x_NC[None], gain_C, change_NC[None], own_NC[None], dgain_C[None], normed_NC[None]
    )
    norm_rows_backward(0, 1, x, gain, change, own, NormGradients(own, dgain, normed))
    torch.mm(dlogits_NV.t(), normed_NC, out=dhead_VC)
    dx_NC.zero_()
    dx_NC.index_copy_(0, indices_N, own_NC)
