"""What the launcher's process and its ways to start a role share: the request, and how a role begins and ends."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol

from rljob import system

MARK = "RLJOB_PROCESS"
"""Environment variable of a role and all programs that it starts, in whatever session: they end with it."""


@dataclass(frozen=True)
class LaunchRequest:
    """A process to start.

    Attributes:
        mark: value of `MARK`, which no other process has.
        name: name of the role, e.g. `rollout-0`.
        argv: arguments of `rljob`, the same as in a pod.
        log: file that gets its output.
        path: what goes before `sys.path`.
        torch: whether a learner needs it.
    """

    mark: str
    name: str
    argv: list[str]
    log: str
    path: list[str]
    torch: bool = True


class Starter(Protocol):
    """A way to start a process of a group of its own, whose number is its pid."""

    @property
    def waiting(self) -> int | None:
        """Pid of a process that was started in advance and has no role yet, if any."""

    def start(self, request: LaunchRequest) -> int:
        """Start a process; returns its pid."""


def run_role(request: LaunchRequest) -> int:
    """Run `rljob` in this process, which must be used for nothing else; returns its exit code."""
    log = os.open(request.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    system.name_process(request.name)
    os.environ[MARK] = request.mark
    sys.path[:0] = request.path
    command = importlib.import_module("rljob.cli.main")
    return int(command.main(request.argv))


def exit_after(body: Callable[[], int]) -> NoReturn:
    """Run `body` and end the process with what it returns."""
    code = 1
    try:
        code = body()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
