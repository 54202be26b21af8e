"""The run that the tests of practice begin with."""

from __future__ import annotations

from stages import base, model, plan, slotted, stop_at  # noqa: F401 (fixtures)
