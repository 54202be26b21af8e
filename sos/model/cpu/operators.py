"""Functions with a hand-written backward pass, for eager torch and for `torch.compile`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def differentiable(
    name: str,
    forward: Callable[..., tuple[Tensor, ...]],
    backward: Callable[..., tuple[Tensor, ...]],
    fake: Callable[..., tuple[Tensor, ...]],
    num_gradients: int,
) -> Callable[..., Tensor]:
    """Return a function of tensors whose result is the first output of `forward`.

    forward: inputs -> (result, *others). backward: (gradient of the result, *inputs, result, *others) -> gradients of the
    first `num_gradients` inputs. fake: as forward, but only the shapes count. While compiling, the function is the operator
    `sos::name`, which does not break the graph; otherwise a `torch.autograd.Function`, which is called in a tenth of the time.
    """
    operator = torch.library.custom_op(f"sos::{name}", forward, mutates_args=())
    operator.register_fake(fake)
    gradients = torch.library.custom_op(f"sos::{name}_backward", backward, mutates_args=())
    gradients.register_fake(lambda grad, *saved: tuple(x.new_empty(x.shape) for x in saved[:num_gradients]))

    def save(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.num_others = len(inputs) - num_gradients
        ctx.save_for_backward(*inputs, *output)

    def give(ctx: Any, grad: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        return (*gradients(grad, *ctx.saved_tensors), *[None] * ctx.num_others)

    operator.register_autograd(give, setup_context=save)

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Tensor) -> Tensor:
            output = forward(*inputs)
            save(ctx, inputs, output)
            return output[0]

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
            return (*backward(grad, *ctx.saved_tensors), *[None] * ctx.num_others)

    def call(*inputs: Tensor) -> Tensor:
        return operator(*inputs)[0] if torch.compiler.is_compiling() else Function.apply(*inputs)

    return call
