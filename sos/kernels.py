"""How the symbolic kernels are compiled.

Their arrays belong to the caller, so they keep no count of references (`_nrt`): counting costs an atomic operation whenever an
array, or a row of one, is handed on, several times the work itself, and most of the time to compile. Hence a kernel can
neither allocate nor return an array; the few that allocate are plain `njit` and call another one.

What only kernels call is compiled into each of them and has no entry from Python (a third of the time to compile); Python
runs its source.
"""

from __future__ import annotations

from typing import Any

from numba import njit
from numba.extending import register_jitable

OPTIONS: Any = {"nogil": True, "_nrt": False, "no_cfunc_wrapper": True}
INNER: Any = OPTIONS | {"no_cpython_wrapper": True}
kernel = njit(cache=True, **OPTIONS)
inner = register_jitable(**INNER)
# For what takes a tuple of many arrays and is called often: a call that is not inlined would pass a hundred words.
inlined = register_jitable(forceinline=True, **INNER)
