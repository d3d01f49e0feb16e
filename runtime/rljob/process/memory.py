"""How much memory a process may use: that of the machine, and of its control groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rljob import system
from rljob.system import CGROUP

OWN_GROUPS = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class MemoryLimit:
    """The smallest limit of a process.

    Attributes:
        source: what sets it, as in "SOURCE is 200 MiB".
    """

    bytes: int
    source: str


def memory_limit(cgroup: Path = CGROUP, own: Path = OWN_GROUPS) -> MemoryLimit | None:
    """The limit of this process; None where the system does not tell.

    Args:
        cgroup: where control groups are mounted, of version 2 or 1.
        own: the groups of this process, a line for each hierarchy.
    """
    found = [MemoryLimit(size, "the memory limit of its container") for size in _sizes(cgroup, own)]
    machine = system.memory()
    if machine is not None:
        found.append(MemoryLimit(machine, "the memory of this machine"))
    return min(found, key=lambda limit: limit.bytes, default=None)


def _sizes(cgroup: Path, own: Path) -> Iterator[int]:
    """The limits of the process' groups and of those above them."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    for line in ("0::/", "0:memory:/", *lines):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, file = cgroup, "memory.max"
        elif "memory" in controllers.split(","):
            root, file = cgroup / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = PurePosixPath(path)
        for each in (group, *group.parents):
            try:
                yield int((root / each.relative_to("/") / file).read_text())
            except (OSError, ValueError):  # `max` is no number.
                continue
