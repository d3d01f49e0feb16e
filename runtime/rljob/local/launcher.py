"""The launcher: a process beside the supervisor that starts the roles, reports their ends, and outlives the supervisor.

The supervisor and the launcher exchange JSON lines over a socket pair:

    → {"op": "spawn", "name": …, "argv": […], "log": path, "path": […]}    ← {"event": "spawned", "name", "pid"}
    → {"op": "signal", "name": …, "signal": 15}                            ← {"event": "exited", "name", "pid", "status"}
    → {"op": "remove", "path": …}    a folder to delete at the end

When the supervisor closes its end or dies, the launcher ends all children, removes the paths and exits.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from rljob import system
from rljob.local.forking import ForkStarter
from rljob.local.launching import MARK, LaunchRequest, Starter
from rljob.local.programs import ProgramStarter

GRACE_SECONDS = 5.0
"""Seconds from SIGTERM to SIGKILL after the supervisor's end; a learner saves a checkpoint in this time."""
_LOOKS = 20
"""Looks for programs that a role has left, at most: one that cannot be killed must hold up no other role."""

_BLOCKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> NoReturn:
    """Serve the socket with the file descriptor `sys.argv[1]`."""
    control = socket.socket(fileno=int(sys.argv.pop()))
    control.set_inheritable(False)
    # The supervisor ends this process by closing the socket. The signals are blocked, not ignored: a
    # signal to a child stays pending until the child has set its handlers.
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    awake, alarm = os.pipe()
    os.set_blocking(awake, False)
    os.set_blocking(alarm, False)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    starter: Starter
    if system.can_fork():
        starter = ForkStarter(_BLOCKED, (control.fileno(), awake, alarm))
    else:
        starter = ProgramStarter(_BLOCKED)
    Launcher(control, awake, starter).run()


@dataclass
class Launcher:
    """State of the launcher; `children` has the roles by pid."""

    control: socket.socket
    awake: int
    starter: Starter
    children: dict[int, LaunchRequest] = field(default_factory=dict)
    cleanup_paths: list[str] = field(default_factory=list)

    def run(self) -> NoReturn:
        """Serve until the supervisor closes the socket."""
        lines = _Lines(self.control)
        while True:
            readable, _, _ = select.select([self.control.fileno(), self.awake], [], [])
            if self.awake in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.awake, 4096)
                self._reap()
            if self.control.fileno() in readable:
                for message in lines.read():
                    self._handle(message)
                if lines.ended:
                    self._end()

    def _handle(self, message: dict[str, Any]) -> None:
        operation = message.pop("op")
        if operation == "spawn":
            request = LaunchRequest(secrets.token_hex(8), **message)
            pid = self.starter.start(request)
            self.children[pid] = request
            self._send({"event": "spawned", "name": request.name, "pid": pid})
        elif operation == "signal":
            for pid, request in self.children.items():
                if request.name == message["name"]:
                    os.kill(pid, message["signal"])
        elif operation == "remove":
            self.cleanup_paths.append(message["path"])

    def _reap(self) -> None:
        for pid, status in self._ended():
            name = self.children.pop(pid).name
            self._send({"event": "exited", "name": name, "pid": pid, "status": status})

    def _ended(self) -> Iterator[tuple[int, int]]:
        """Pid and status of each role that ended; a negative status is a signal. Also ends what it started."""
        for child, request in list(self.children.items()):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid == 0:
                continue
            # No process gets the number of a group that still has members.
            _kill(os.killpg, pid)
            # A simulator in a session of its own, which may be starting others.
            for _ in range(_LOOKS):
                left = system.processes_with(MARK, request.mark)
                for each in left:
                    _kill(os.kill, each)
                if not left:
                    break
                time.sleep(0.01)
            yield pid, os.waitstatus_to_exitcode(status)

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # The end of the supervisor is detected as EOF.
            self.control.sendall(json.dumps(message).encode() + b"\n")

    def _end(self) -> NoReturn:
        self.control.close()
        if self.starter.waiting is not None:
            os.kill(self.starter.waiting, signal.SIGKILL)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.children:
                os.kill(pid, number)
            deadline = time.monotonic() + GRACE_SECONDS
            while self.children and time.monotonic() < deadline:
                for pid, _ in self._ended():
                    self.children.pop(pid)
                time.sleep(0.01)
        for path in self.cleanup_paths:
            shutil.rmtree(path, ignore_errors=True)
        os._exit(0)


def _kill(how: Callable[[int, int], None], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        how(number, signal.SIGKILL)


class _Lines:
    """JSON lines from a socket; `ended` is True after the other side has closed it."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._rest = b""
        self.ended = False

    def read(self) -> list[dict[str, Any]]:
        try:
            data = self._control.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        self.ended = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]
