"""Starts each role as a new Python process, where a process may not be forked after it has loaded libraries."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict

from rljob.local.launching import LaunchRequest, exit_after, run_role

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); "
    "from rljob.local.programs import main; main()"
)


class ProgramStarter:
    """Starts each role anew. It imports what it needs, which takes a second or more.

    Args:
        blocked: signals that are blocked in this process.
    """

    waiting: int | None = None

    def __init__(self, blocked: Sequence[signal.Signals]) -> None:
        self._blocked = blocked

    def start(self, request: LaunchRequest) -> int:
        """Start the program. Descriptors of this process are not inherited."""
        # The name comes first, for `ps`.
        words = [request.name, json.dumps(asdict(request)), json.dumps(sys.path)]
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-c", _BOOT, *words],
            os.environ,
            setpgroup=0,
            setsigmask=[],
            setsigdef=[*self._blocked, signal.SIGCHLD],
        )


def main() -> None:
    """Run the request `sys.argv[2]`."""
    request = LaunchRequest(**json.loads(sys.argv[2]))
    # What is imported from here on sees the arguments of no other program.
    del sys.argv[1:]
    exit_after(lambda: run_role(request))
