"""How many physical cores this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

DEVICES, GROUPS, OWN_GROUPS = Path("/sys/devices/system/cpu"), Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Return how many physical cores this process may use, at least 1.

    Of hardware threads that share a core one counts. A process may use what its affinity names, and as much as the
    quota of the control groups that it is in (rounded up).
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return max(1, math.ceil(min(physical_cores(allowed), quota())))


def physical_cores(cpus: Iterable[int], devices: Path = DEVICES) -> int:
    """Return how many cores the numbered processors of a machine are; those of which nothing is known count as one."""
    return len({_read(devices / f"cpu{cpu}" / "topology" / "thread_siblings_list") or str(cpu) for cpu in cpus})


def quota(groups: Path = GROUPS, own: Path = OWN_GROUPS) -> float:
    """Return how many processors' time the control groups of this process allow, or infinity.

    Version 2 has one tree of groups, and `cpu.max` in each; version 1 one for processors, with two files for the same.
    """
    least = math.inf
    for line in _read(own).splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        for tree in (groups,) if not controllers else (groups / controllers, groups / "cpu"):
            if controllers and "cpu" not in controllers.split(","):
                continue
            folder = tree / path.strip("/")
            # In a container the path may be that of the host, and the tree begin at the container's own group.
            for place in {tree, *(parent for parent in (folder, *folder.parents) if parent.is_relative_to(tree))}:
                least = min(least, _limit(place))
    return least


def _limit(group: Path) -> float:
    """Return how many processors' time a control group has, or infinity."""
    words = _read(group / "cpu.max").split() or [_read(group / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
    amount, period = (int(word) if word.isdigit() else 0 for word in (*words, "", "")[:2])
    return amount / period if amount > 0 and period > 0 else math.inf


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
