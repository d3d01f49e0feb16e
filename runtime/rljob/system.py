"""What differs between operating systems. Only this module calls what Linux alone has; each call has a fallback.

rljob runs on Linux and macOS. `tests/portable` takes these calls away, and the integration tests pass without them.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import platform
import sys
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MAX_SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103
"""Longest path of a Unix socket, less the terminating zero: unix(7) on Linux, sys/un.h on BSD and macOS."""

_WINDOWS = "rljob runs on Linux and macOS; on Windows, install it in WSL 2 (`wsl --install`)"
_CAN_FORK = sys.platform == "linux"
_BLOCK = bytes(1 << 20)


def unsupported() -> str | None:
    """Why rljob does not run on this system; None where it does."""
    return _WINDOWS if sys.platform == "win32" else None


def can_fork() -> bool:
    """Whether a process may be forked after it has loaded numpy and zmq, and go on in the child.

    System libraries of macOS may crash in such a child (https://github.com/python/cpython/issues/77906).
    """
    return _CAN_FORK


def reserve(file: int, size: int) -> None:
    """Make an empty file `size` bytes long, with space on the disk for each of them.

    Raises:
        OSError: the disk has no space. OverflowError: no file can be that large.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    os.truncate(file, size)
    disk = os.fstatvfs(file)
    if size > disk.f_bavail * disk.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    # A truncated file has holes: a write to its mapping on a full disk would kill the process.
    written = 0
    while written < size:
        written += os.pwrite(file, _BLOCK[: size - written], written)


def drop_cached(file: int) -> None:
    """Let the kernel drop what it holds in memory of a file that was synchronised; elsewhere it stays there."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)


def shared_memory(name: str) -> tuple[int, str]:
    """The descriptor of new memory without a name on a disk, and the path by which other processes open it.

    Raises:
        OSError: this system has no such memory. Payloads then go through a socket.
    """
    if not hasattr(os, "memfd_create"):
        raise OSError("this system has no anonymous shared memory")
    file = os.memfd_create(name)
    return file, f"/proc/{os.getpid()}/fd/{file}"


def usable_cores(cgroup: Path = CGROUP) -> int:
    """How many cores a process may use, at least 1: those of the machine, of its affinity, and of its container.

    Args:
        cgroup: where the process' own control group is mounted, as it is in a container.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    limit = _core_limit(cgroup)
    return cores if limit is None else max(1, min(cores, math.ceil(limit)))


def waited_for_core() -> float:
    """Seconds in which this thread could have run but had no core; 0 where the system does not tell."""
    try:
        with open("/proc/thread-self/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def processor() -> str | None:
    """Name of the processor; None if it is not known."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


def memory() -> int | None:
    """Bytes of this machine's memory; None if they are not known."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def resident_memory() -> int:
    """Bytes that this process holds in memory; where the system does not tell, the most that it ever held."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most


def name_process(name: str) -> None:
    """Name this process in `ps` and `top`; elsewhere these show its command line."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as comm:
        comm.write(name)


def processes_with(variable: str, value: str) -> list[int]:
    """Pids of the processes of this user that were started with a variable in their environment; none where the
    system does not tell. A process that was only forked has the environment of the program that it runs."""
    found, entry = [], f"{variable}={value}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if entry in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def raise_descriptor_limit(most: int) -> None:
    """Allow as many open descriptors as the process may set itself, up to `most`."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS says that there is no limit, and refuses more than OPEN_MAX.
    for wanted in (most, 10_240):
        limit = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        if soft == resource.RLIM_INFINITY or limit <= soft:
            return
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            return


def _core_limit(cgroup: Path) -> float | None:
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
