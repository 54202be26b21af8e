"""Vectors of 16 float32 numbers as a type of numba: loads, stores, arithmetic, the exponential, and a product of matrices.

LLVM turns plain loops into vector code, but not short ones, nor those over many arrays that might overlap. Kernels made of such
loops name whole vectors instead: `load`, `store`, and `+ - * /` between vectors, or a vector and a float32. Under AVX2 a
vector is two registers. An array is addressed by flat index: it must be contiguous, its shape does not matter.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from sos.kernels import OPTIONS, compiled

LANES = 16
ROWS = 4  # of a tile of `set_product`: eight registers of sums keep both units for products busy
kernel = compiled(**OPTIONS, fastmath={"reassoc", "contract", "nsz", "arcp"})

_FLOATS, _INT = ir.VectorType(ir.FloatType(), LANES), ir.IntType(32)
_INTS = ir.VectorType(_INT, LANES)


class _Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Vector")


vector = _Vector()


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: _Vector) -> None:
        super().__init__(manager, kind, _FLOATS)


def _spread(builder: Any, value: Any) -> Any:
    """Return a vector as it is, and a number in all lanes."""
    if isinstance(value.type, ir.VectorType):
        return value
    undefined = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
    first = builder.insert_element(undefined, value, _INT(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(_INTS, [0] * LANES))


def _define(function: Callable[..., Any], instruction: str) -> None:
    """Let an operator of Python take vectors, or a vector and a number."""
    pairs = [(vector, vector), (vector, types.float32), (types.float32, vector)]
    cases = [signature(vector, *pair) for pair in pairs]
    infer_global(function)(type(f"_{instruction}", (ConcreteTemplate,), {"cases": cases}))

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*(_spread(builder, value) for value in args))

    for pair in pairs:
        lower_builtin(function, *pair)(lower)


for _name, _instruction in (("add", "fadd"), ("sub", "fsub"), ("mul", "fmul"), ("truediv", "fdiv")):
    _define(getattr(operator, _name), _instruction)
    _define(getattr(operator, f"i{_name}"), _instruction)


def _address(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _FLOATS.as_pointer())


@intrinsic
def load(typing: Any, array: Any, at: Any) -> Any:
    """Return the numbers at..at + 15 of an array."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, sig.args[0], *args), align=4)

    return vector(array, types.intp), lower


@intrinsic
def store(typing: Any, array: Any, at: Any, value: Any) -> Any:
    """Write a vector to at..at + 15 of an array."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _address(context, builder, sig.args[0], *args[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), lower


@intrinsic
def everywhere(typing: Any, array: Any, at: Any) -> Any:
    """Return a vector of copies of the number at `at` of an array."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return _spread(builder, builder.load(builder.gep(data, [args[1]])))

    return vector(array, types.intp), lower


def _first_lanes(builder: Any, num: Any) -> Any:
    lanes = ir.Constant(ir.VectorType(num.type, LANES), list(range(LANES)))
    return builder.icmp_signed("<", lanes, _spread(builder, num))


@intrinsic
def _load_masked(typing: Any, array: Any, at: Any, num: Any) -> Any:
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address, mask = _address(context, builder, sig.args[0], *args[:2]), _first_lanes(builder, args[2])
        kind = ir.FunctionType(_FLOATS, [address.type, _INT, mask.type, _FLOATS])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.load.v{LANES}f32.p0")
        return builder.call(function, [address, _INT(4), mask, _constant(0.0)])

    return vector(array, types.intp, types.intp), lower


@intrinsic
def _store_masked(typing: Any, array: Any, at: Any, value: Any, num: Any) -> Any:
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address, mask = _address(context, builder, sig.args[0], *args[:2]), _first_lanes(builder, args[3])
        kind = ir.FunctionType(ir.VoidType(), [_FLOATS, address.type, _INT, mask.type])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.store.v{LANES}f32.p0")
        builder.call(function, [args[2], address, _INT(4), mask])
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, types.intp), lower


@kernel
def load_first(array, at, num):
    """Return the numbers at..at + num - 1 of an array and zeros behind them; all 16 where num >= 16."""
    return load(array, at) if num >= LANES else _load_masked(array, at, num)


@kernel
def store_first(array, at, value, num):
    """Write the first `num` numbers of a vector to an array; all 16 where num >= 16."""
    if num >= LANES:
        store(array, at, value)
    else:
        _store_masked(array, at, value, num)


@intrinsic
def spread(typing: Any, value: Any) -> Any:
    """Return a vector of copies of a float32."""
    return vector(types.float32), lambda context, builder, sig, args: _spread(builder, args[0])


@intrinsic
def zeros(typing: Any) -> Any:
    """Return a vector of zeros."""
    return vector(), lambda context, builder, sig, args: _constant(0.0)


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_FLOATS, [value] * LANES)


def _call(builder: Any, name: str, *args: Any) -> Any:
    """Call an intrinsic of LLVM that works lane by lane."""
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32"), args)


@intrinsic
def multiply_add(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """Return x * y + z of three vectors, rounded once."""
    return vector(vector, vector, vector), lambda context, builder, sig, args: _call(builder, "fma", *args)


@intrinsic
def exponential(typing: Any, x: Any) -> Any:
    """Return exp(x) of a vector, to a relative 3e-7; x is cut to -87..87."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x = _call(builder, "minnum", _call(builder, "maxnum", args[0], _constant(-87.0)), _constant(87.0))
        n = _call(builder, "rint", builder.fmul(x, _constant(1.4426950408889634)))
        f = _call(builder, "fma", n, _constant(-0.693359375), x)  # the 9 leading bits of log(2), exact times n
        f = _call(builder, "fma", n, _constant(2.12194440e-4), f)
        p = _constant(1 / 720)
        for k in (1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0):
            p = _call(builder, "fma", p, f, _constant(k))
        bits = builder.add(builder.fptosi(n, _INTS), ir.Constant(_INTS, [127] * LANES))
        return builder.fmul(p, builder.bitcast(builder.shl(bits, ir.Constant(_INTS, [23] * LANES)), _FLOATS))

    return vector(vector), lower


@intrinsic
def larger(typing: Any, a: Any, b: Any) -> Any:
    """Return the larger of two numbers, or of each pair in two vectors (one of which may be a number)."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, y = args if sig.return_type != vector else (_spread(builder, value) for value in args)
        return builder.select(builder.fcmp_ordered(">", x, y), x, y)

    return (vector if vector in (a, b) else types.float32)(a, b), lower


@intrinsic
def where_negative(typing: Any, x: Any, a: Any, b: Any) -> Any:
    """Return a vector of the numbers of `a` where those of `x` are below 0, and of `b` elsewhere."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", args[0], _constant(0.0)), *args[1:])

    return vector(vector, vector, vector), lower


def _reduce(builder: Any, value: Any, combine: Callable[[Any, Any], Any]) -> Any:
    width = LANES
    while width > 1:
        width //= 2
        moved = ir.Constant(_INTS, [(lane + width) % LANES for lane in range(LANES)])
        value = combine(value, builder.shuffle_vector(value, ir.Constant(_FLOATS, ir.Undefined), moved))
    return builder.extract_element(value, _INT(0))


@intrinsic
def sum_of(typing: Any, x: Any) -> Any:
    """Return the sum of a vector, float32."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _reduce(builder, args[0], builder.fadd)

    return types.float32(vector), lower


@intrinsic
def largest_of(typing: Any, x: Any) -> Any:
    """Return the largest number of a vector, float32."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _reduce(builder, args[0], lambda a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))

    return types.float32(vector), lower


@intrinsic
def _truncated(typing: Any, x: Any) -> Any:
    """Return numbers or vectors of a size below 2^31 without what is behind the point."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.sitofp(builder.fptosi(args[0], _INTS if x == vector else _INT), args[0].type)

    return x(x), lower


@intrinsic
def _power_of_two(typing: Any, x: Any) -> Any:
    """Return 2^x for whole -126 <= x <= 127, by a shift into the exponent."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bias, shift = (_spread(builder, _INT(n)) if x == vector else _INT(n) for n in (127, 23))
        n = builder.fptosi(args[0], _INTS if x == vector else _INT)
        return builder.bitcast(builder.shl(builder.add(n, bias), shift), args[0].type)

    return x(x), lower


@kernel
def exp_negative(x):
    """exp(x) of numbers or vectors x <= 0, to a relative 6e-7 and not below exp(-87)."""
    y = larger(x, np.float32(-87)) * np.float32(1.4426950408889634)
    n = _truncated(y - np.float32(0.5))
    f = (y - n) * np.float32(0.6931471805599453)
    p = f * np.float32(1 / 720) + np.float32(1 / 120)
    p = p * f + np.float32(1 / 24)
    p = p * f + np.float32(1 / 6)
    p = p * f + np.float32(0.5)
    p = p * f + np.float32(1)
    p = p * f + np.float32(1)
    return p * _power_of_two(n)


@kernel
def inverse_rms(x, at, num):
    """1 / sqrt(mean of the squares + 1e-6) of the numbers at..at + num - 1 of an array, as `sos.model.gpt.RMSNorm`."""
    squares = spread(np.float32(0))
    for i in range(0, num, LANES):
        a = load_first(x, at + i, num - i)
        squares += a * a
    return np.float32(1) / np.sqrt(sum_of(squares) / np.float32(num) + np.float32(1e-6))


@kernel
def _sum_products(s0, s1, s2, s3, a, a_at, a_row, a_column, b, b_at, b_row, num):
    for k in range(num):
        x, at = load(b, b_at + k * b_row), a_at + k * a_column
        s0 += x * everywhere(a, at)
        s1 += x * everywhere(a, at + a_row)
        s2 += x * everywhere(a, at + 2 * a_row)
        s3 += x * everywhere(a, at + 3 * a_row)
    return s0, s1, s2, s3


@kernel
def set_product(c, c_at, c_row, a, a_at, a_row, a_column, b, b_at, b_row, num):
    """Write a tile of 4 rows of 16 numbers: c[i] = sum of a[i, k] * b[k] over k < num.

    `c_at`, `a_at`, `b_at` are where the tiles begin, and rows (of `a`: columns, too) are so many numbers apart.
    """
    zero = spread(np.float32(0))
    s0, s1, s2, s3 = _sum_products(zero, zero, zero, zero, a, a_at, a_row, a_column, b, b_at, b_row, num)
    store(c, c_at, s0)
    store(c, c_at + c_row, s1)
    store(c, c_at + 2 * c_row, s2)
    store(c, c_at + 3 * c_row, s3)


@kernel
def add_product(c, c_at, c_row, a, a_at, a_row, a_column, b, b_at, b_row, num):
    """Add to a tile what `set_product` would write."""
    s0, s1, s2, s3 = load(c, c_at), load(c, c_at + c_row), load(c, c_at + 2 * c_row), load(c, c_at + 3 * c_row)
    s0, s1, s2, s3 = _sum_products(s0, s1, s2, s3, a, a_at, a_row, a_column, b, b_at, b_row, num)
    store(c, c_at, s0)
    store(c, c_at + c_row, s1)
    store(c, c_at + 2 * c_row, s2)
    store(c, c_at + 3 * c_row, s3)
