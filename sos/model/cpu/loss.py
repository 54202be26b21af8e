"""The last norm, the head and the cross-entropy as one operator of torch, forward and backward: float32 on the CPU.

Only tokens with a target are multiplied by the head. Shape suffixes as in `sos.model.gpt`; N tokens have a target.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sos.model.cpu.layers import NormGradients, exp_negative, norm_rows, norm_rows_backward
from sos.model.cpu.operators import Function, differentiable
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

PART = 1024  # tokens of a part


class Inputs(NamedTuple):
    """The residual stream after all blocks, the weights of the last norm and of the head, and the targets."""

    x_BTC: Tensor
    gain_C: Tensor
    head_VC: Tensor
    targets_BT: Tensor


class Outputs(NamedTuple):
    """The loss of each token, then what the backward pass needs."""

    losses_BT: Tensor
    indices_N: Tensor  # of the tokens with a target
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


def _forward(inputs: Inputs) -> Outputs:
    x_BTC, gain_C, head_VC, targets_BT = inputs
    indices_N = (targets_BT.flatten() >= 0).nonzero()[:, 0]
    num, width = len(indices_N), x_BTC.shape[2]
    x_NC, targets_N = x_BTC.reshape(-1, width).index_select(0, indices_N), targets_BT.flatten()[indices_N]
    logits_NV, lse_N, losses_N = torch.empty(num, len(head_VC)), torch.empty(num), torch.empty(num)
    normed_NC = torch.empty(min(PART, num), width)
    for start in range(0, num, PART):
        part = slice(start, min(num, start + PART))
        normed = normed_NC[: part.stop - start]
        norm_rows(0, 1, *as_arrays(x_NC[None, part], gain_C, normed[None]))
        torch.mm(normed, head_VC.t(), out=logits_NV[part])
        _cross_entropy(*as_arrays(logits_NV[part], targets_N[part], lse_N[part], losses_N[part]))
    losses_BT = torch.zeros(targets_BT.shape)
    losses_BT.view(-1).index_copy_(0, indices_N, losses_N)
    return Outputs(losses_BT, indices_N, logits_NV, lse_N)


def _unwritten(inputs: Inputs) -> Outputs:
    x_BTC, _, head_VC, targets_BT = inputs
    num = torch.library.get_ctx().new_dynamic_size()
    losses_BT, indices_N = x_BTC.new_empty(targets_BT.shape), targets_BT.new_empty(num)
    return Outputs(losses_BT, indices_N, x_BTC.new_empty(num, len(head_VC)), x_BTC.new_empty(num))


def _backward(grad_BT: Tensor, inputs: Inputs, outputs: Outputs) -> tuple[Tensor, ...]:
    x_BTC, gain_C, head_VC, targets_BT = inputs
    _, indices_N, logits_NV, lse_N = outputs
    num, width = len(indices_N), x_BTC.shape[2]
    grad_N, targets_N = grad_BT.flatten()[indices_N], targets_BT.flatten()[indices_N]
    x_NC = x_BTC.reshape(-1, width).index_select(0, indices_N)
    dx_NC, dgain_1C, dhead_VC = torch.zeros(num, width), torch.zeros(1, width), torch.zeros(head_VC.shape)
    normed_NC, change_NC, dlogits_NV = (torch.empty(min(PART, num), size) for size in (width, width, len(head_VC)))
    more_1C = torch.empty(1, width)
    for start in range(0, num, PART):
        part = slice(start, min(num, start + PART))
        normed, change, dlogits = (buffer[: part.stop - start] for buffer in (normed_NC, change_NC, dlogits_NV))
        _cross_entropy_backward(*as_arrays(logits_NV[part], targets_N[part], lse_N[part], grad_N[part], dlogits))
        torch.mm(dlogits, head_VC, out=change)
        x, dx = x_NC[None, part], dx_NC[None, part]
        # The norm's backward pass adds to what skips the norm. Nothing does here, so it adds to the zeros in `dx`
        # itself.
        x_, gain_, change_, dx_, more_, normed_ = as_arrays(x, gain_C, change[None], dx, more_1C, normed[None])
        norm_rows_backward(0, 1, x_, gain_, change_, dx_, NormGradients(dx_, more_, normed_))
        dhead_VC.addmm_(dlogits.t(), normed)
        dgain_1C += more_1C
    dx_BTC = torch.zeros(x_BTC.shape)
    dx_BTC.view(-1, width).index_copy_(0, indices_N, dx_NC)
    return dx_BTC, dgain_1C[0].clone(), dhead_VC


_losses = differentiable("token_losses", Function(Inputs, Outputs, _forward, _unwritten, _backward, num_gradients=3))


def token_losses(x_BTC: Tensor, gain_C: Tensor, head_VC: Tensor, targets_BT: Tensor) -> Tensor:
    """Return minus the log-probability of each target, (B, T), 0 where a target is negative.

    x_BTC: the residual stream after all blocks. targets_BT: int64. Differentiable once, in x, the gain and the head.
    """
    return _losses(x_BTC, gain_C, head_VC, targets_BT)
