"""Makes every Python process that has this folder on PYTHONPATH look to rljob as one on macOS.

What macOS has not is gone from the standard library, files that only Linux has cannot be opened by rljob, and
`rljob.system` believes that this is macOS. `sys.platform` stays true for all others: libraries load their own parts by it.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import resource
import select
import signal
import sys

MISSING = {
    os: (
        "copy_file_range",
        "eventfd",
        "fdatasync",
        "getrandom",
        "memfd_create",
        "pidfd_open",
        "posix_fadvise",
        "posix_fallocate",
        "sched_getaffinity",
        "sched_setaffinity",
        "setns",
        "splice",
        "unshare",
        "waitid",
    ),
    resource: ("prlimit",),
    select: ("epoll",),
    signal: ("pidfd_send_signal", "sigtimedwait", "sigwaitinfo"),
}
LINUX_FILES = ("/proc/", "/sys/", "/dev/shm/")
OURS = (os.path.join("runtime", "rljob", ""), os.path.join("operator", "rljob_operator", ""))


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event != "open" or not str(arguments[0]).startswith(LINUX_FILES):
        return
    frame = sys._getframe(1)
    while frame is not None and "pathlib" in frame.f_code.co_filename:
        frame = frame.f_back
    if frame is not None and any(folder in frame.f_code.co_filename for folder in OURS):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), arguments[0])


def _take_away() -> None:
    sys.addaudithook(_refuse)
    for module, names in MISSING.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    real, sys.platform = sys.platform, "darwin"
    try:
        # A process without rljob, such as pip, needs nothing.
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module("rljob.system")
    finally:
        sys.platform = real


_take_away()
