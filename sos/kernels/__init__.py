"""How the symbolic kernels are compiled, and where what was compiled is kept.

`kernel`: the arrays of a kernel belong to the caller, so it keeps no count of references (`_nrt`): counting costs an
atomic operation whenever an array, or a row of one, is handed on, several times the work itself, and most of the time
to compile. Hence a kernel can neither allocate nor return an array. `allocating` is for the few that do; they call
kernels.

`inner`, `inlined`: what only kernels call is compiled into each of them and has no entry from Python (a third of the
time to compile); Python runs its source.

An index is never negative in any of them. Numba allows for negative ones at every access, which takes about a tenth
of the time to compile and of the encoder, and a sixth of a search: `_KernelLowering` leaves that out, while it lowers
functions of this package, and of no others.

Compiled kernels are kept in `$SOS_CACHE_DIR` or `~/.cache/sos`, in a folder for each version of the kernels: numba's
own disk cache does not notice an edit in *another* file that a kernel inlines. Where nothing can be written there, a
folder is used that is removed when the process ends. Nothing of this touches what others compile with numba in the
same process. Of several processes that need the same kernel one compiles it, and the others wait for its file.

Two switches, both environment variables: `SOS_KERNELS=plain` compiles with numba's public options alone and keeps
nothing, so that every process compiles anew (minutes); `NUMBA_DISABLE_JIT=1` runs everything in plain Python.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from numba import njit
from numba.extending import register_jitable

from sos.errors import UserError
from sos.kernels.claims import when_cold
from sos.kernels.lowering import KernelCompiler
from sos.kernels.store import DIGEST_BYTES, VERSION, KernelCache, cache_folders

__all__ = [
    "DIGEST_BYTES",
    "INNER",
    "NOGIL",
    "OPTIONS",
    "PLAIN",
    "VERSION",
    "allocating",
    "cache_folders",
    "compiled",
    "inlined",
    "inner",
    "inner_with",
    "kernel",
    "when_cold",
]

SWITCH = os.environ.get("SOS_KERNELS", "")
if SWITCH not in ("", "plain"):
    raise UserError(f"the environment variable SOS_KERNELS must be plain or unset, got {SWITCH!r}")
PLAIN = SWITCH == "plain"
NOGIL: Any = {"nogil": True}
COMPILED: Any = NOGIL if PLAIN else NOGIL | {"pipeline_class": KernelCompiler}
OPTIONS: Any = COMPILED if PLAIN else COMPILED | {"_nrt": False, "no_cfunc_wrapper": True}
INNER: Any = OPTIONS if PLAIN else OPTIONS | {"no_cpython_wrapper": True}


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator like numba's `njit(**options)`, whose results are kept in the folder of this version of the
    kernels."""

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = njit(**options)(function)
        if not PLAIN and dispatcher is not function:
            dispatcher._cache = KernelCache(function)
        return dispatcher

    return decorate


def inner_with(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator for what only kernels call, with more of numba's options."""
    return register_jitable(**INNER, **options)


kernel = compiled(**OPTIONS)
allocating = compiled(**COMPILED)
inner = inner_with()
# For what takes a tuple of many arrays and is called often: a call that is not inlined would pass a hundred words.
inlined = inner_with(forceinline=True)
