"""Runs of tokens: copies of a fixed size, wider than what is asked for, because one unaligned move is faster than a loop.

What such a copy writes behind its run is overwritten by the next one; arrays have `SLACK` tokens behind their last run.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from sos.kernels import OPTIONS, inlined

SHORT, LONG = 4, 16
SLACK = LONG


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


def copy_short(source, start, target, at):
    """Copy SHORT tokens, uint16, from source[start:] to target[at:]."""
    target[at : at + SHORT] = source[start : start + SHORT]


def copy_long(source, start, target, at):
    """Copy LONG tokens, uint16, from source[start:] to target[at:]."""
    target[at : at + LONG] = source[start : start + LONG].copy()


@overload(copy_short, jit_options=OPTIONS)
def _short(source, start, target, at):
    return lambda source, start, target, at: _copy_short(source, start, target, at)


@overload(copy_long, jit_options=OPTIONS)
def _long(source, start, target, at):
    return lambda source, start, target, at: _copy_long(source, start, target, at)


@inlined
def copy_run(source, start, count, target, at):
    """Copy `count` tokens and up to SLACK behind them; return the position behind the run. `source` may be `target`."""
    copy_long(source, start, target, at)
    k = LONG
    while k < count:
        copy_long(source, start + k, target, at + k)
        k += LONG
    return at + count
