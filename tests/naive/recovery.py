"""What is dead, by trying everything, on whole numbers alone."""

from __future__ import annotations

from typing import Any

from naive.search import successors


def can_reach(env: Any, numbers: list[int], target: int) -> bool:
    """Whether some order of operations leaves the target alone."""
    if len(numbers) == 1:
        return numbers[0] == target
    return any(can_reach(env, child, target) for _, child in successors(numbers, env.max_value))
