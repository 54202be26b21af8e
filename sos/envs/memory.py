"""Room on the stack for kernels that no caller lends room to: an array that lives as long as the function that asks."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, type_callable
from numba.np.arrayobj import make_array, populate_array

SIZE = 512  # numbers: 4 kB


def memory():
    """Return int64 (SIZE,) with any contents. It must not be returned, and a function should ask once."""
    return np.zeros(SIZE, np.int64)


ARRAY = types.Array(types.int64, 1, "C")


@type_callable(memory)
def _type(context: Any) -> Any:
    return lambda: ARRAY


@lower_builtin(memory)
def _lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    # Where the function begins: in a loop it would take room anew in every turn.
    word = ir.IntType(64)
    data = cgutils.alloca_once(builder, word, size=ir.Constant(ir.IntType(32), SIZE))
    array = make_array(ARRAY)(context, builder)
    populate_array(
        array,
        data=data,
        shape=[ir.Constant(word, SIZE)],
        strides=[ir.Constant(word, 8)],
        itemsize=ir.Constant(word, 8),
        meminfo=None,
    )
    return array._getvalue()
