"""Progress bars of an evaluation."""

from __future__ import annotations

from collections.abc import Callable

from tqdm import tqdm


def progress_bars() -> tuple[Callable[[str, int, int], None], Callable[[], None]]:
    """Return (update, close): one bar per phase of an evaluation."""
    bars: dict[str, tqdm] = {}

    def close() -> None:
        for bar in bars.values():
            bar.close()

    def update(phase: str, done: int, total: int) -> None:
        if phase not in bars:
            close()
            bars[phase] = tqdm(total=total, desc=phase, unit="problems", leave=False)
        bars[phase].update(done - bars[phase].n)

    return update, close
