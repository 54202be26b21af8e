"""How the symbolic kernels are compiled.

Their arrays belong to the caller, so they keep no count of references (`_nrt`): counting costs an atomic operation whenever an
array, or a row of one, is handed on, several times the work itself, and most of the time to compile. Hence a kernel can
neither allocate nor return an array; the few that allocate are plain `njit` and call another one.

What only kernels call is compiled into each of them and has no entry from Python (a third of the time to compile); Python
runs its source.

An index is never negative in them. Numba allows for negative ones at every access, which takes about a tenth of the time to compile
and of the encoder, and a sixth of a search: `_without_wraparound` leaves that out of the functions of this package, and of no others.
"""

from __future__ import annotations

from typing import Any

from numba import njit, types
from numba.extending import register_jitable
from numba.np import arrayobj


def _without_wraparound(fix: Any) -> Any:
    """Return numba's function `fix` that makes an index count from the start of an array, without that for the kernels of sos."""

    def fixed(context: Any, builder: Any, kind: Any, index: Any, size: Any) -> Any:
        if not builder.function.name.startswith(MANGLED):
            return fix(context, builder, kind, index, size)
        return context.cast(builder, index, kind, types.intp if kind.signed else types.uintp)

    return fixed


MANGLED = "_ZN3sos"  # what the names of compiled functions of this package start with
# This function is no part of numba's interface: without it kernels are slower, no less right.
if hasattr(arrayobj, "fix_integer_index"):
    arrayobj.fix_integer_index = _without_wraparound(arrayobj.fix_integer_index)

OPTIONS: Any = {"nogil": True, "_nrt": False, "no_cfunc_wrapper": True}
INNER: Any = OPTIONS | {"no_cpython_wrapper": True}
kernel = njit(cache=True, **OPTIONS)
inner = register_jitable(**INNER)
# For what takes a tuple of many arrays and is called often: a call that is not inlined would pass a hundred words.
inlined = register_jitable(forceinline=True, **INNER)
