"""The machine that is measured on: what it is, how busy others keep it, what a process holds."""

from __future__ import annotations

import os
import platform
import resource
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
NOISY = 0.15
"""Cores used by others from which on a figure is marked as noisy."""
PACKAGES = ("rljob", "torch", "numpy", "gymnasium", "pyzmq")


def _machine_seconds() -> tuple[float, float]:
    """CPU time since the machine started: of all its processes, and what its host gave to other machines
    while they wanted it (`steal` of proc_stat(5))."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(field) / TICKS for field in file.readline().split()[1:]]
    user, nice, system, steal = *fields[:3], fields[7]
    return user + nice + system, steal


def _own_seconds() -> float:
    """CPU time of this process and of all those below it that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


@dataclass
class Load:
    """Cores that others had while something was measured, all of whose processes have ended."""

    _started: float = field(default_factory=time.monotonic)
    _machine: tuple[float, float] = field(default_factory=_machine_seconds)
    _own: float = field(default_factory=_own_seconds)

    def others(self, known: float = 0.0) -> float:
        """CPU time of processes that are not below this one, over wall time.

        Args:
            known: CPU seconds of what was measured, where it is known to be more than its parents were told.
        """
        busy = _machine_seconds()[0] - self._machine[0]
        own = max(known, _own_seconds() - self._own)
        return max(0.0, busy - own) / self._seconds()

    def stolen(self) -> float:
        """Time that this machine's processors were ready to run and its host let others, over wall time; 0
        where there is no host."""
        return max(0.0, _machine_seconds()[1] - self._machine[1]) / self._seconds()

    def _seconds(self) -> float:
        return max(1e-3, time.monotonic() - self._started)


def resident_mib(pid: int) -> float:
    """Resident memory of a process now, what it shares with others included."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def tree(pid: int) -> list[int]:
    """A process and those below it now."""
    below: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            below.setdefault(int(after_name[1]), []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += below.get(one, [])
    return found


def shared_mib(pid: int) -> float:
    """Memory of a process now, its part of what it shares with others (PSS); 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, all its threads together."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / TICKS


def describe() -> dict[str, str]:
    """What a table of figures needs beside it."""
    # The scripts of peers import this module, and rljob is not in their environments.
    from rljob.system import usable_cores

    return {
        "cpu": _cpu_name(),
        "cores": str(usable_cores()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in PACKAGES},
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
