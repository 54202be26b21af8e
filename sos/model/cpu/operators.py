"""Functions with a hand-written backward pass, for eager torch and for `torch.compile`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Function(NamedTuple):
    """A function of tensors. Inputs and outputs are NamedTuples of tensors, the first output being the result."""

    inputs: type[Any]
    outputs: type[Any]
    forward: Callable[[Any], Any]  # inputs -> outputs
    fake: Callable[[Any], Any]  # as forward, but only the shapes count
    # gradient of the result, inputs, outputs -> the gradients of the first inputs
    backward: Callable[[Tensor, Any, Any], tuple[Tensor, ...]]
    num_gradients: int


def differentiable(name: str, function: Function) -> Callable[..., Tensor]:
    """Return the function as one of tensors, its inputs one by one; it returns the result.

    While compiling it is the operator `sos::name`, which does not break the graph; otherwise a
    `torch.autograd.Function`, which is called in a tenth of the time.
    """
    inputs, outputs, num_gradients = function.inputs, function.outputs, function.num_gradients
    num_inputs = len(inputs._fields)
    num_others = num_inputs - num_gradients

    def forward(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(function.forward(inputs(*tensors)))

    def backward(grad: Tensor, *saved: Tensor) -> tuple[Tensor, ...]:
        return function.backward(grad, inputs(*saved[:num_inputs]), outputs(*saved[num_inputs:]))

    taken, saved = _parameters(inputs), _parameters(outputs)
    operator = _operator(name, forward, taken, len(outputs._fields))
    operator.register_fake(lambda *tensors: tuple(function.fake(inputs(*tensors))))
    gradients = _operator(f"{name}_backward", backward, ["Tensor grad", *taken, *saved], num_gradients)
    gradients.register_fake(lambda grad, *saved: tuple(x.new_empty(x.shape) for x in saved[:num_gradients]))

    def save(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, *output)

    def give(ctx: Any, grad: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        return (*gradients(grad, *ctx.saved_tensors), *[None] * num_others)

    operator.register_autograd(give, setup_context=save)

    class Eager(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: Tensor) -> Tensor:
            output = forward(*tensors)
            save(ctx, tensors, output)
            return output[0]

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
            return (*backward(grad, *ctx.saved_tensors), *[None] * num_others)

    def call(*tensors: Tensor) -> Tensor:
        return operator(*tensors)[0] if torch.compiler.is_compiling() else Eager.apply(*tensors)

    return call


def _parameters(kind: type[Any]) -> list[str]:
    return [f"Tensor {name.lower()}" for name in kind._fields]


def _operator(name: str, function: Callable[..., Any], parameters: list[str], num_outputs: int) -> Any:
    schema = f"({', '.join(parameters)}) -> ({', '.join(['Tensor'] * num_outputs)})"
    return torch.library.custom_op(f"sos::{name}", function, mutates_args=(), schema=schema)
