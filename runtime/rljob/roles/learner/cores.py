"""How many cores a process may use: those of the machine, of its affinity, and of its container."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = CGROUP) -> int:
    """At least 1.

    Args:
        cgroup: where the process' own control group is mounted, as it is in a container.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    limit = _limit(cgroup)
    return cores if limit is None else max(1, min(cores, math.ceil(limit)))


def _limit(cgroup: Path) -> float | None:
    """Cores' worth of time, of version 2 or 1 of control groups; None without a limit."""
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # `max` is no number.
        return None
