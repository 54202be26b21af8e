"""Shared settings and fixtures."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import settings
from places import REFERENCE
from shard_sets import copy, made, tokens  # noqa: F401 (fixtures)
from sizes import INTERPRETED, plain

from sos.envs.countdown.rules import Countdown
from sos.stream.dialect.compile import Dialect, load_dialect

settings.register_profile("sos", deadline=None, derandomize=True, database=None, max_examples=200)
# With NUMBA_DISABLE_JIT=1 kernels are plain Python, hundreds of times slower; numpy says where integers wrap around or something is
# divided by zero.
settings.register_profile("plain", settings.get_profile("sos"), max_examples=5)
settings.load_profile(plain("sos", "plain"))
if INTERPRETED:
    np.seterr(over="ignore", divide="ignore", invalid="ignore")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what only compiled kernels can show."""
    for item in items:
        if INTERPRETED and item.get_closest_marker("compiled"):
            item.add_marker(pytest.mark.skip(reason="nothing is compiled"))


@cache
def _dialect(name: str, env: Countdown, whole_max: int) -> Dialect:
    return load_dialect(name, env, whole_max)


@pytest.fixture(scope="session")
def dialect_of() -> Callable[[str, Countdown, int], Dialect]:
    """Load a shipped dialect once: (name, env, whole_max) -> Dialect."""
    return _dialect


@pytest.fixture(scope="session")
def reference():
    """The folder with the published code's data, beside the repository; skips where it is absent."""
    if not (REFERENCE / "traces.jsonl").is_file():
        pytest.skip(f"the published traces are not at {REFERENCE}")
    return REFERENCE
