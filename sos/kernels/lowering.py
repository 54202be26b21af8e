"""Numba's compiler without wraparound of indices, with one optimization for each kernel, and without collections of
garbage meanwhile, for functions of this package alone.

Numba optimizes each function and makes machine code of it before it is linked into those that call it, where both are
done again: a function at the end of a chain of ten is optimized ten times. What only kernels call is left as it is
here, and the kernel is optimized as a whole, in one pass instead of two (the first of numba's prepares the removal of
counts of references, of which kernels have none). That is two to three times faster, and the kernels are as fast.

Python's collector goes through all objects of the process again and again while numba makes its own, a tenth of the
time to compile, and finds little: what numba leaves is collected when the kernel is there.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_machinery import register_pass
from numba.core.targetconfig import ConfigStack
from numba.core.typed_passes import NativeLowering, NopythonTypeInference
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


class _KernelLibrary(JITCodeLibrary):
    """The code of a kernel that counts no references, with what it calls."""

    def _optimize_final_module(self) -> None:
        passes, builder = self._codegen._module_pass_manager()
        with self._recorded_timings.record("Module passes", builder):
            passes.run(self._final_module, builder)


class _InnerLibrary(JITCodeLibrary):
    """The code of what only kernels call, with what it calls in turn: it is linked into them, and never run alone."""

    @property
    def codegen(self) -> Any:
        return _WithoutEnvironments(self._codegen)

    def get_pointer_to_function(self, name: str) -> int:
        return 0

    def _optimize_final_module(self) -> None:
        return

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


class _WithoutEnvironments:
    """Numba's generator of code for a library that is not loaded, and so has no place for a function's globals; only
    what handles Python's objects reads them."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, name: str, env: Any) -> None:
        return


def _library(state: Any) -> JITCodeLibrary | None:
    """Return an empty library for the function of `state`; None: numba's own."""
    codegen, name = state.targetctx.codegen(), state.func_id.func_qualname
    if state.flags.nrt:
        return None
    if state.flags.no_cpython_wrapper:
        return _InnerLibrary(codegen, name)
    library = _KernelLibrary(codegen, name)
    library.enable_object_caching()
    return library


@register_pass(mutates_CFG=True, analysis_only=False)
class _KernelInference(NopythonTypeInference):
    """Numba's pass that finds types, and compiles what the function calls, which it keeps for callers of the same
    flags: those of kernels are made those of inner functions here, so that what both call is compiled once."""

    _name = "sos_kernel_inference"

    def run_pass(self, state: Any) -> Any:
        flags = state.flags.copy()
        flags.no_cpython_wrapper = True
        flags.forceinline = False
        with ConfigStack().enter(flags):
            return super().run_pass(state)


@register_pass(mutates_CFG=True, analysis_only=False)
class _KernelLowering(NativeLowering):
    """Numba's pass to LLVM, with its function for indices exchanged while it runs, under the lock of numba's compiler.

    That function is no part of numba's interface: without it kernels are slower, no less right.
    """

    _name = "sos_kernel_lowering"

    def run_pass(self, state: Any) -> Any:
        state.library = state.library or _library(state)
        fix = getattr(arrayobj, "fix_integer_index", None)
        if fix is None:
            return super().run_pass(state)
        arrayobj.fix_integer_index = _without_wraparound(fix)
        try:
            return super().run_pass(state)
        finally:
            arrayobj.fix_integer_index = fix


_PASSES: Any = {NopythonTypeInference: _KernelInference, NativeLowering: _KernelLowering}


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Let the collector of garbage rest, unless it does so already."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class KernelCompiler(Compiler):
    def compile_extra(self, func: Any) -> Any:
        with _without_collecting():
            return super().compile_extra(func)

    def define_pipelines(self) -> Any:
        pipelines = super().define_pipelines()
        for pipeline in pipelines:
            pipeline.passes = [(_PASSES.get(numba_pass, numba_pass), text) for numba_pass, text in pipeline.passes]
            pipeline.finalize()
        return pipelines
