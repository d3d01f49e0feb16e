"""Client of the launcher, in the supervisor."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rljob.errors import RunError
from rljob.local import scratch

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(2)); "
    "from rljob.local.launcher import main; main()"
)
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_LAST_GRACE = 12.0
"""Upper bound on the time that the launcher needs to end all processes."""


@dataclass(frozen=True)
class Exit:
    """End of a role's process; `status` is its exit code, or the negative number of a signal."""

    name: str
    pid: int
    status: int


class Spawner:
    """Starts the launcher without waiting until it is ready.

    Attributes:
        scratch: temporary folder for sockets, accessible only to this user. The launcher removes it
            at the end, even if this process was killed.
        running: roles that were started and have not ended, each with its pid, or None until it is known.
    """

    def __init__(self) -> None:
        self.scratch, lock = scratch.make()
        self._log = self.scratch / "launcher.log"
        self._control, theirs = socket.socketpair()
        # The libraries read these at import. The learner sets torch's threads itself.
        environment = {**os.environ, **dict.fromkeys(_ONE_THREAD, "1")}
        path = [os.path.abspath(entry or ".") for entry in sys.path]
        with theirs, self._log.open("ab") as output:
            # A new session: only the supervisor gets a terminal's Ctrl-C. With -P, the working folder is
            # not in sys.path: a file there must not replace a library.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, str(theirs.fileno()), json.dumps(path)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                # The launcher and its roles keep the folder, also when this process was killed.
                pass_fds=[theirs.fileno(), lock],
                start_new_session=True,
            )
        os.close(lock)
        self._poll = select.poll()
        self._poll.register(self._control, select.POLLIN)
        self._rest = b""
        self.running: dict[str, int | None] = {}
        self.remove_at_end(self.scratch)

    def spawn(
        self, name: str, argv: Sequence[str], log: Path, path: Sequence[str], torch: bool = True
    ) -> None:
        """Start `rljob ARGV…` as `name`. Append its output to `log`; put `path` before `sys.path`.

        Args:
            torch: whether a learner needs it.
        """
        self.running[name] = None
        request = {"name": name, "argv": list(argv), "log": str(log), "path": list(path)}
        self._send({"op": "spawn", "torch": torch, **request})

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a role, if it is running."""
        self._send({"op": "signal", "name": name, "signal": int(number)})

    def remove_at_end(self, folder: Path) -> None:
        """Remove a folder after all processes have ended, even if this process was killed."""
        self._send({"op": "remove", "path": str(folder)})

    def exits(self, seconds: float) -> list[Exit]:
        """Roles that ended since the last call; waits up to `seconds` for the first.

        Raises:
            RunError: the launcher has ended.
        """
        if not self._poll.poll(seconds * 1000):
            return []
        try:
            data = self._control.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if not data:
            self._kill()
            raise RunError(f"the launcher ended unexpectedly: {self._last_error()}")
        *lines, self._rest = (self._rest + data).split(b"\n")
        exits = []
        for line in lines:
            message = json.loads(line)
            if message["event"] == "spawned":
                self.running[message["name"]] = message["pid"]
            else:
                self.running.pop(message["name"], None)
                exits.append(Exit(message["name"], message["pid"], message["status"]))
        return exits

    def close(self, kill: bool = False) -> None:
        """End all roles and the launcher; with `kill` immediately, else with a grace period. A second
        call does nothing."""
        if self._control.fileno() < 0:
            return
        if kill:
            self._kill()
            if not self.running:
                # It may still be importing. Its children end with it.
                self._process.kill()
        self._control.close()
        deadline = time.monotonic() + _LAST_GRACE
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _kill(self) -> None:
        for pid in filter(None, self.running.values()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _send(self, message: dict[str, object]) -> None:
        # The end of the launcher is detected when its events are read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._control.sendall(json.dumps(message).encode() + b"\n")

    def _last_error(self) -> str:
        try:
            text = self._log.read_text(errors="replace").strip()
        except OSError:
            text = ""
        return text.splitlines()[-1] if text else "it left no message"
