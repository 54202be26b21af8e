"""Numba's compiler without wraparound of indices, for functions of this package alone."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core.compiler import Compiler
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering
from numba.np import arrayobj

MANGLED = "_ZN3sos"  # what the names of compiled functions of this package start with


def _without_wraparound(fix: Any) -> Any:
    """Return numba's function `fix` that makes an index count from the start of an array, without that for this
    package."""

    def fixed(context: Any, builder: Any, kind: Any, index: Any, size: Any) -> Any:
        if not builder.function.name.startswith(MANGLED):
            return fix(context, builder, kind, index, size)
        return context.cast(builder, index, kind, types.intp if kind.signed else types.uintp)

    return fixed


@register_pass(mutates_CFG=True, analysis_only=False)
class _KernelLowering(NativeLowering):
    """Numba's pass to LLVM, with its function for indices exchanged while it runs, under the lock of numba's compiler.

    That function is no part of numba's interface: without it kernels are slower, no less right.
    """

    _name = "sos_kernel_lowering"

    def run_pass(self, state: Any) -> Any:
        fix = getattr(arrayobj, "fix_integer_index", None)
        if fix is None:
            return super().run_pass(state)
        arrayobj.fix_integer_index = _without_wraparound(fix)
        try:
            return super().run_pass(state)
        finally:
            arrayobj.fix_integer_index = fix


class KernelCompiler(Compiler):
    def define_pipelines(self) -> Any:
        pipelines = super().define_pipelines()
        for pipeline in pipelines:
            pipeline.passes = [(_KernelLowering if p is NativeLowering else p, text) for p, text in pipeline.passes]
            pipeline.finalize()
        return pipelines
