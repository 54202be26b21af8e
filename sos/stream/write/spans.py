"""Runs of tokens: copies of a fixed size, wider than what is asked for, because one unaligned move is faster than a
loop.

What such a copy writes behind its run is overwritten by the next one; arrays have `SLACK` entries behind their last
run.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from sos.kernels import INNER, inlined

SHORT, LONG, LONGER = 4, 16, 64
WIDE = SLACK = 64


def _copy(typingctx: Any, source: Any, start: Any, target: Any, at: Any, size: int) -> Any:
    if not all(isinstance(a, types.Array) and a.dtype == types.uint16 and a.ndim == 1 for a in (source, target)):
        return None

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(16), size).as_pointer()

        def pointer(kind: Any, array: Any, index: Any) -> Any:
            data = context.make_array(kind)(context, builder, array).data
            return builder.bitcast(builder.gep(data, [index]), vector)

        loaded = builder.load(pointer(signature.args[0], arguments[0], arguments[1]), align=2)
        builder.store(loaded, pointer(signature.args[2], arguments[2], arguments[3]), align=2)
        return context.get_dummy_value()

    return types.none(source, types.intp, target, types.intp), codegen


@intrinsic
def _copy_short(typingctx: Any, source: Any, start: Any, target: Any, at: Any) -> Any:
    return _copy(typingctx, source, start, target, at, SHORT)


@intrinsic
def _copy_long(typingctx: Any, source: Any, start: Any, target: Any, at: Any) -> Any:
    return _copy(typingctx, source, start, target, at, LONG)


@intrinsic
def _copy_longer(typingctx: Any, source: Any, start: Any, target: Any, at: Any) -> Any:
    return _copy(typingctx, source, start, target, at, LONGER)


@intrinsic
def _copy_rest(typingctx: Any, source: Any, start: Any, target: Any, at: Any, count: Any) -> Any:
    if not all(isinstance(a, types.Array) and a.dtype == types.uint16 and a.ndim == 1 for a in (source, target)):
        return None

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def pointer(k: int) -> Any:
            data = context.make_array(signature.args[k])(context, builder, arguments[k]).data
            return builder.gep(data, [arguments[k + 1]])

        cgutils.raw_memcpy(builder, pointer(2), pointer(0), arguments[4], 2)
        return context.get_dummy_value()

    return types.none(source, types.intp, target, types.intp, types.intp), codegen


@intrinsic
def _fill_wide(typingctx: Any, target: Any, at: Any, value: Any) -> Any:
    if not (isinstance(target, types.Array) and target.dtype == types.int8 and target.ndim == 1):
        return None

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, lane = ir.VectorType(ir.IntType(8), WIDE), ir.IntType(32)
        first = builder.insert_element(ir.Constant(vector, ir.Undefined), arguments[2], lane(0))
        splat = builder.shuffle_vector(
            first, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(lane, WIDE), None)
        )
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        builder.store(splat, builder.bitcast(builder.gep(data, [arguments[1]]), vector.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.none(target, types.intp, types.int8), codegen


def copy_short(source, start, target, at):
    """Copy SHORT tokens, uint16, from source[start:] to target[at:]."""
    target[at : at + SHORT] = source[start : start + SHORT]


def copy_long(source, start, target, at):
    """Copy LONG tokens, uint16, from source[start:] to target[at:]."""
    target[at : at + LONG] = source[start : start + LONG].copy()


def copy_longer(source, start, target, at):
    """Copy LONGER tokens, uint16, from source[start:] to target[at:]."""
    target[at : at + LONGER] = source[start : start + LONGER].copy()


def copy_rest(source, start, target, at, count):
    """Copy `count` tokens, uint16, from source[start:] to target[at:]; the two may not overlap."""
    target[at : at + count] = source[start : start + count].copy()


def fill_wide(target, at, value):
    """Write `value` into WIDE entries of target, int8, from `at` on."""
    target[at : at + WIDE] = value


@overload(fill_wide, jit_options=INNER)
def _wide(target, at, value):
    return lambda target, at, value: _fill_wide(target, at, value)


@overload(copy_short, jit_options=INNER)
def _short(source, start, target, at):
    return lambda source, start, target, at: _copy_short(source, start, target, at)


@overload(copy_long, jit_options=INNER)
def _long(source, start, target, at):
    return lambda source, start, target, at: _copy_long(source, start, target, at)


@overload(copy_longer, jit_options=INNER)
def _longer(source, start, target, at):
    return lambda source, start, target, at: _copy_longer(source, start, target, at)


@overload(copy_rest, jit_options=INNER)
def _rest(source, start, target, at, count):
    return lambda source, start, target, at, count: _copy_rest(source, start, target, at, count)


@inlined
def copy_run(source, start, count, target, at):
    """Copy `count` tokens and up to SLACK behind them; return the position behind the run. `source` may be `target`."""
    copy_long(source, start, target, at)
    if count > LONG:
        # A call: a loop would be unrolled wherever it is inlined, and take the registers from all that is around it.
        copy_rest(source, start + LONG, target, at + LONG, count - LONG)
    return at + count


@inlined
def copy_longer_run(source, start, count, target, at):
    """Like `copy_run`, for what is mostly longer than LONG."""
    copy_longer(source, start, target, at)
    if count > LONGER:
        copy_rest(source, start + LONGER, target, at + LONGER, count - LONGER)
    return at + count


@inlined
def fill_run(target, start, stop, value):
    """Write `value` into target[start:stop], int8, and into up to SLACK entries behind."""
    fill_wide(target, start, value)
    k = start + WIDE
    while k < stop:
        fill_wide(target, k, value)
        k += WIDE
