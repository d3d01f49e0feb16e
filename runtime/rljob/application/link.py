"""The program's side of its courier: starts it, hears of it, and starts it again when it dies."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from rljob.application.courier import CourierOrders
from rljob.application.ring import make_folder
from rljob.errors import RunError

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from rljob.application.courier import main; main()"
)
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LOG = "courier.log"
TICK = 1.0
"""Seconds between two looks at what is due without a call of the program."""
RESTART_AFTER = 2.0
"""Seconds between two starts of a courier that dies."""
_LEFT: list[subprocess.Popen[bytes]] = []
"""Couriers that deliver after their agent was closed; they end by themselves."""


class CourierLink:
    """A courier, and the folder that is shared with it.

    Args:
        orders: what it is to do.

    Attributes:
        folder: shared with the courier, which removes it at the end.
        trouble: why the job refused this application; empty if it did not.
        waits: why it does not admit this application yet; empty if it does.

    Raises:
        RunError: it cannot be started.
    """

    def __init__(self, orders: CourierOrders) -> None:
        self.folder = make_folder()
        self.trouble = self.waits = ""
        self._orders = orders
        self._rest = b""
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes]
        self._link: socket.socket
        try:
            self._start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def await_description(self, deadline: float) -> dict[str, Any]:
        """What the job says of itself.

        Raises:
            RunError: it refused this application, or did not answer in time.
        """
        heard = False
        while (left := deadline - time.monotonic()) > 0:
            for event in self._events(left):
                if event["event"] == "refused":
                    raise RunError(event["message"])
                if event["event"] == "not admitted":
                    self.waits = event["message"]
                    continue
                heard = True
                if "spaces" in event["description"]:
                    found: dict[str, Any] = event["description"]
                    return found
        where = self._orders.address
        if self.waits and not heard:
            raise RunError(self.waits)
        if heard:
            raise RunError(
                f"the job at {where} does not know its spaces yet: no rollout has started, and it states no "
                "environment.spaces"
            )
        raise RunError(
            f"no job answers at {where}: it has not started, the address is another one's"
            + (f", or {self._orders.keys} is a key of another job" if self._orders.keys else "")
        )

    def begin(self, orders: CourierOrders, look: Callable[[], None]) -> None:
        """Let the courier work.

        Args:
            orders: with the job, and the plan where it sends.
            look: called in a thread every second, for what is due.
        """
        self._orders, self.waits = orders, ""
        orders.write(self.folder)
        self.wake()
        self._thread = threading.Thread(
            target=self._watch, args=(look,), name="rljob-agent", daemon=True
        )
        self._thread.start()

    def wake(self) -> None:
        """Tell the courier that there is something to send."""
        with contextlib.suppress(OSError):
            self._link.send(b"\n", socket.MSG_DONTWAIT)

    def forget(self) -> None:
        """In a child of the program: let go of the socket, which is that of the program."""
        self._closed.set()
        self._link.close()

    def close(self, seconds: float, kill: bool = False) -> None:
        """End it once it has delivered what it has. After `seconds` it goes on without being waited for, or is killed."""
        if self._closed.is_set():
            return
        self._closed.set()
        # The thread reads from it: this wakes it, and tells the courier as the end of the program would.
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._link.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            if not kill:
                _LEFT.append(self._process)
                return
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        self._link, theirs = socket.socketpair()
        environment = {**os.environ, **dict.fromkeys(_ONE_THREAD, "1")}
        path = json.dumps([os.path.abspath(entry or ".") for entry in sys.path])
        self._orders.write(self.folder)
        try:
            with theirs, (self.folder / LOG).open("ab") as log:
                # A session of its own: Ctrl-C is for the program.
                self._process = subprocess.Popen(
                    [
                        sys.executable,
                        "-P",
                        "-c",
                        _BOOT,
                        path,
                        str(self.folder),
                        str(theirs.fileno()),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
        except OSError as error:
            raise RunError(f"cannot start the process that sends: {error}") from error

    def _events(self, seconds: float) -> list[dict[str, Any]]:
        """What the courier tells within `seconds`.

        Raises:
            RunError: it has ended.
        """
        ready, _, _ = select.select([self._link], [], [], max(0.0, seconds))
        if not ready:
            return []
        try:
            data = self._link.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            raise RunError(f"the process that sends has ended: {self._last_line()}")
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def _watch(self, look: Callable[[], None]) -> None:
        started = time.monotonic()
        while not self._closed.is_set():
            try:
                for event in self._events(TICK):
                    if event["event"] == "refused":
                        self.trouble = event["message"]
                    if event["event"] == "not admitted":
                        self.waits = event["message"]
            except RunError:
                if self._closed.is_set() or self.trouble:
                    return
                self._closed.wait(max(0.0, RESTART_AFTER - (time.monotonic() - started)))
                started = time.monotonic()
                if not self._closed.is_set():
                    self._again()
            look()

    def _again(self) -> None:
        """Start another courier: the one before has died. What it had not delivered is lost."""
        self._process.wait()
        self._rest = b""
        old = self._link
        with contextlib.suppress(RunError, OSError):
            self._start()
        old.close()

    def _last_line(self) -> str:
        try:
            lines = (self.folder / LOG).read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "it left no message"
