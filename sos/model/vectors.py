"""Vectors of 16 float32 numbers as values in numba kernels.

LLVM often makes scalar code of loops over array slices; with vectors as values the kernel says what is computed at once, and LLVM
splits 16 numbers into whatever the processor has. Arrays are flat and float32, an index counts numbers, and nothing is
checked: not bounds, not alignment.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

LANES = 16
_FLOATS, _INTS = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.IntType(32), LANES)
_FLAGS = ("contract", "nsz", "arcp")


class Vector(types.Type):
    """The numba type of 16 float32 numbers."""

    def __init__(self) -> None:
        super().__init__("Float32x16")


VECTOR = Vector()


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, _FLOATS)


def constant(value: float) -> ir.Constant:
    return ir.Constant(_FLOATS, [value] * LANES)


def _call(builder: ir.IRBuilder, name: str, *arguments: ir.Value) -> ir.Value:
    """Call an LLVM intrinsic that works number by number."""
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * len(arguments))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32"), arguments)


def _address(context: Any, builder: ir.IRBuilder, array: types.Array, value: ir.Value, index: ir.Value) -> ir.Value:
    return builder.gep(context.make_array(array)(context, builder, value).data, [index])


def _splat(builder: ir.IRBuilder, number: ir.Value) -> ir.Value:
    first = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), number, ir.IntType(32)(0))
    return builder.shuffle_vector(first, ir.Constant(_FLOATS, ir.Undefined), ir.Constant(_INTS, [0] * LANES))


@intrinsic
def load(typing_context, array, index):
    """array[index : index + 16]."""

    def generate(context, builder, signature, arguments):
        address = _address(context, builder, signature.args[0], *arguments)
        return builder.load(builder.bitcast(address, _FLOATS.as_pointer()), align=4)

    return VECTOR(array, types.intp), generate


@intrinsic
def store(typing_context, array, index, vector):
    """array[index : index + 16] = vector."""

    def generate(context, builder, signature, arguments):
        address = _address(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], builder.bitcast(address, _FLOATS.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, VECTOR), generate


@intrinsic
def broadcast(typing_context, array, index):
    """Return 16 times array[index]."""

    def generate(context, builder, signature, arguments):
        return _splat(builder, builder.load(_address(context, builder, signature.args[0], *arguments)))

    return VECTOR(array, types.intp), generate


@intrinsic
def splat(typing_context, number):
    """Return 16 times the float32 number."""
    return VECTOR(types.float32), lambda context, builder, signature, arguments: _splat(builder, arguments[0])


@intrinsic
def zeros(typing_context):
    """Return 16 zeros."""
    return VECTOR(), lambda context, builder, signature, arguments: constant(0.0)


def _elementwise(name: str, num_arguments: int) -> Callable:
    def generate(context, builder, signature, arguments):
        return _call(builder, name, *arguments)

    if num_arguments == 3:
        return intrinsic(lambda typing_context, x, y, z: (VECTOR(VECTOR, VECTOR, VECTOR), generate))
    return intrinsic(lambda typing_context, x, y: (VECTOR(VECTOR, VECTOR), generate))


multiply_add = _elementwise("fma", 3)  # x * y + z
larger = _elementwise("maxnum", 2)


@intrinsic
def exponential(typing_context, x):
    """exp(x) number by number, to a relative 3e-7; x is cut to -87..87."""

    def generate(context, builder, signature, arguments):
        x = _call(builder, "minnum", _call(builder, "maxnum", arguments[0], constant(-87.0)), constant(87.0))
        n = _call(builder, "rint", builder.fmul(x, constant(1.4426950408889634)))
        f = _call(builder, "fma", n, constant(-0.693359375), x)  # the 9 leading bits of log(2), exact times n
        f = _call(builder, "fma", n, constant(2.12194440e-4), f)
        p = constant(1 / 720)
        for k in (1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0):
            p = _call(builder, "fma", p, f, constant(k))
        bits = builder.add(builder.fptosi(n, _INTS), ir.Constant(_INTS, [127] * LANES))
        return builder.fmul(p, builder.bitcast(builder.shl(bits, ir.Constant(_INTS, [23] * LANES)), _FLOATS))

    return VECTOR(VECTOR), generate


def _reduction(combine: Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]) -> Callable:
    def generate(context, builder, signature, arguments):
        (x,), half = arguments, LANES // 2
        while half:
            order = ir.Constant(_INTS, [(i + half) % LANES for i in range(LANES)])
            x = combine(builder, x, builder.shuffle_vector(x, x, order))
            half //= 2
        return builder.extract_element(x, ir.IntType(32)(0))

    return intrinsic(lambda typing_context, x: (types.float32(VECTOR), generate))


total = _reduction(lambda builder, x, y: builder.fadd(x, y))
largest = _reduction(lambda builder, x, y: _call(builder, "maxnum", x, y))


def _arithmetic(symbol: Callable, instruction: str) -> None:
    @intrinsic
    def combine(typing_context, x, y):
        def generate(context, builder, signature, arguments):
            return getattr(builder, instruction)(*arguments, flags=_FLAGS)

        return VECTOR(VECTOR, VECTOR), generate

    @overload(symbol)
    def choose(x, y):
        return (lambda x, y: combine(x, y)) if isinstance(x, Vector) and isinstance(y, Vector) else None


for _symbol, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _arithmetic(_symbol, _instruction)
