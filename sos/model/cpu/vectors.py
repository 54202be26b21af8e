"""Vectors of 16 float32 numbers as a type of numba: loads, stores, arithmetic, and the pieces of an exponential.

LLVM turns plain loops into vector code, but not short ones, nor those over many arrays that might overlap. Kernels
made of such loops name whole vectors instead: `load`, `store`, and `+ - * /` between vectors, or a vector and a
float32. Under AVX2 a vector is two registers. An array is addressed by flat index: it must be contiguous, its shape
does not matter.

Each operation has a twin of numpy (`sos.model.cpu.plain`), which is what it has to compute. Where numba compiles
nothing (`NUMBA_DISABLE_JIT=1`), the kernels run with the twins.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from sos.kernels import OPTIONS, compiled
from sos.model.cpu import plain
from sos.model.cpu.plain import LANES

# How kernels of training are compiled: as all kernels are (`sos.kernels`), and sums may be reordered and fused. Kernels
# of rollouts are compiled without that, so that a row gives the same bits in whatever place of a batch it stands.
fast_kernel = compiled(**OPTIONS, fastmath={"reassoc", "contract", "nsz", "arcp"})

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


def _twin_of(twin: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return a decorator that makes an intrinsic of numba, or `twin` where numba compiles nothing."""
    compiles = not config.DISABLE_JIT  # type: ignore[attr-defined]
    return lambda typing_function: intrinsic(typing_function) if compiles else twin


def _address(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _FLOATS.as_pointer())


@_twin_of(plain.load)
def load(typing: Any, array: Any, at: Any) -> Any:
    """Return the numbers at..at + 15 of an array."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, sig.args[0], *args), align=4)

    return vector(array, types.intp), lower


@_twin_of(plain.store)
def store(typing: Any, array: Any, at: Any, value: Any) -> Any:
    """Write a vector to at..at + 15 of an array."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _address(context, builder, sig.args[0], *args[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), lower


@_twin_of(plain.everywhere)
def everywhere(typing: Any, array: Any, at: Any) -> Any:
    """Return a vector of copies of the number at `at` of an array."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return _spread(builder, builder.load(builder.gep(data, [args[1]])))

    return vector(array, types.intp), lower


def _first_lanes(builder: Any, num: Any) -> Any:
    lanes = ir.Constant(ir.VectorType(num.type, LANES), list(range(LANES)))
    return builder.icmp_signed("<", lanes, _spread(builder, num))


@_twin_of(plain.load_masked)
def _load_masked(typing: Any, array: Any, at: Any, num: Any) -> Any:
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address, mask = _address(context, builder, sig.args[0], *args[:2]), _first_lanes(builder, args[2])
        kind = ir.FunctionType(_FLOATS, [address.type, _INT, mask.type, _FLOATS])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.load.v{LANES}f32.p0")
        return builder.call(function, [address, _INT(4), mask, _constant(0.0)])

    return vector(array, types.intp, types.intp), lower


@_twin_of(plain.store_masked)
def _store_masked(typing: Any, array: Any, at: Any, value: Any, num: Any) -> Any:
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address, mask = _address(context, builder, sig.args[0], *args[:2]), _first_lanes(builder, args[3])
        kind = ir.FunctionType(ir.VoidType(), [_FLOATS, address.type, _INT, mask.type])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.store.v{LANES}f32.p0")
        builder.call(function, [args[2], address, _INT(4), mask])
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, types.intp), lower


@fast_kernel
def load_first(array, at, num):
    """Return the numbers at..at + num - 1 of an array and zeros behind them; all 16 where num >= 16."""
    return load(array, at) if num >= LANES else _load_masked(array, at, num)


@fast_kernel
def store_first(array, at, value, num):
    """Write the first `num` numbers of a vector to an array; all 16 where num >= 16."""
    if num >= LANES:
        store(array, at, value)
    else:
        _store_masked(array, at, value, num)


@_twin_of(plain.spread)
def spread(typing: Any, value: Any) -> Any:
    """Return a vector of copies of a float32."""
    return vector(types.float32), lambda context, builder, sig, args: _spread(builder, args[0])


@_twin_of(plain.zeros)
def zeros(typing: Any) -> Any:
    """Return a vector of zeros."""
    return vector(), lambda context, builder, sig, args: _constant(0.0)


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_FLOATS, [value] * LANES)


def _call(builder: Any, name: str, *args: Any) -> Any:
    """Call an intrinsic of LLVM that works lane by lane."""
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32"), args)


@_twin_of(plain.multiply_add)
def multiply_add(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """Return x * y + z of three vectors, rounded once."""
    return vector(vector, vector, vector), lambda context, builder, sig, args: _call(builder, "fma", *args)


@_twin_of(plain.exponential)
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


@_twin_of(plain.larger)
def larger(typing: Any, a: Any, b: Any) -> Any:
    """Return the larger of two numbers, or of each pair in two vectors (one of which may be a number)."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, y = args if sig.return_type != vector else (_spread(builder, value) for value in args)
        return builder.select(builder.fcmp_ordered(">", x, y), x, y)

    return (vector if vector in (a, b) else types.float32)(a, b), lower


@_twin_of(plain.where_negative)
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


@_twin_of(plain.sum_of)
def sum_of(typing: Any, x: Any) -> Any:
    """Return the sum of a vector, float32."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _reduce(builder, args[0], builder.fadd)

    return types.float32(vector), lower


@_twin_of(plain.largest_of)
def largest_of(typing: Any, x: Any) -> Any:
    """Return the largest number of a vector, float32."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _reduce(builder, args[0], lambda a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))

    return types.float32(vector), lower


@_twin_of(plain.truncated)
def truncated(typing: Any, x: Any) -> Any:
    """Return numbers or vectors of a size below 2^31 without what is behind the point."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.sitofp(builder.fptosi(args[0], _INTS if x == vector else _INT), args[0].type)

    return x(x), lower


@_twin_of(plain.power_of_two)
def power_of_two(typing: Any, x: Any) -> Any:
    """Return 2^x for whole -126 <= x <= 127, by a shift into the exponent."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bias, shift = (_spread(builder, _INT(n)) if x == vector else _INT(n) for n in (127, 23))
        n = builder.fptosi(args[0], _INTS if x == vector else _INT)
        return builder.bitcast(builder.shl(builder.add(n, bias), shift), args[0].type)

    return x(x), lower
