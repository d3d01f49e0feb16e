"""The fork server: a process that preloads the shared modules and forks the roles for a fast start.

The supervisor and the fork server exchange JSON lines over a socket pair:

    → {"op": "spawn", "name": …, "argv": […], "log": path, "path": […]}    ← {"event": "spawned", "name", "pid"}
    → {"op": "signal", "name": …, "signal": 15}                            ← {"event": "exited", "name", "pid", "status"}
    → {"op": "remove", "path": …}    a folder to delete at the end

When the supervisor closes its end or dies, the fork server ends all children, removes the paths and
exits. It starts no thread before a fork and does not import torch itself.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from rljob.spec.roles import ROLES

SHARED = (
    "rljob.cli.role",
    "rljob.process.context",
    *(role.module for role in ROLES.values()),
    "gymnasium",
    "gymnasium.vector",
    "zmq",
    "safetensors.numpy",
)
"""Modules imported before the first fork. If an import fails, the role that needs it reports the error."""
LEARNER = ("torch", "rljob.nets.torch_gradients", "rljob.nets.torch_optimizer")
"""Modules imported by the process that becomes the first learner, while the job is read."""
GRACE_SECONDS = 5.0
"""Seconds from SIGTERM to SIGKILL after the supervisor's end; a learner saves a checkpoint in this time."""

_BLOCKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

ForkRequest = dict[str, Any]


def main() -> NoReturn:
    """Serve the socket with the file descriptor `sys.argv[1]`."""
    control = socket.socket(fileno=int(sys.argv.pop()))
    # The supervisor ends this process by closing the socket. The signals are blocked, not ignored: a
    # signal to a child stays pending until the child has set its handlers.
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    ForkServer(control).run()


@dataclass
class ForkedProcess:
    """A forked process; `assign` is a descriptor while the process waits for its role, else None."""

    pid: int
    name: str = ""
    assign: int | None = None


@dataclass
class ForkServer:
    """State of the fork server; `children` is keyed by pid."""

    control: socket.socket
    children: dict[int, ForkedProcess] = field(default_factory=dict)
    cleanup_paths: list[str] = field(default_factory=list)

    def run(self) -> NoReturn:
        """Serve until the supervisor closes the socket."""
        awake, alarm = os.pipe()
        os.set_blocking(awake, False)
        os.set_blocking(alarm, False)
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._inherited = (self.control.fileno(), awake, alarm)
        _import(SHARED)
        gc.collect()
        gc.freeze()
        prewarmed_learner: ForkedProcess | None = self._fork_waiting()
        lines = _Lines(self.control)
        while True:
            readable, _, _ = select.select([self.control.fileno(), awake], [], [])
            if awake in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(awake, 4096)
                self._reap()
            if self.control.fileno() in readable:
                for message in lines.read():
                    prewarmed_learner = self._handle(message, prewarmed_learner)
                if lines.ended:
                    self._end()

    def _handle(
        self, message: ForkRequest, prewarmed_learner: ForkedProcess | None
    ) -> ForkedProcess | None:
        if message["op"] == "spawn":
            if message["argv"][:2] == ["role", "learner"] and self._assign(
                prewarmed_learner, message
            ):
                return None
            self._fork(message)
        elif message["op"] == "signal":
            for child in self.children.values():
                if child.name == message["name"]:
                    os.kill(child.pid, message["signal"])
        elif message["op"] == "remove":
            self.cleanup_paths.append(message["path"])
        return prewarmed_learner

    def _fork(self, message: ForkRequest) -> None:
        pid = os.fork()
        if pid == 0:
            _child(lambda: self._run_role(message))
        self.children[pid] = ForkedProcess(pid, message["name"])
        self._send({"event": "spawned", "name": message["name"], "pid": pid})

    def _fork_waiting(self) -> ForkedProcess:
        """Fork a process that imports torch and waits for the learner's arguments."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(write)
            _child(lambda: self._wait(read))
        os.close(read)
        child = ForkedProcess(pid, assign=write)
        self.children[pid] = child
        return child

    def _assign(self, child: ForkedProcess | None, message: ForkRequest) -> bool:
        if child is None or child.pid not in self.children or child.assign is None:
            return False
        child.name = message["name"]
        with os.fdopen(child.assign, "w") as pipe, contextlib.suppress(BrokenPipeError):
            pipe.write(json.dumps(message))
        child.assign = None
        self._send({"event": "spawned", "name": child.name, "pid": child.pid})
        return True

    def _wait(self, read: int) -> int:
        # Import in a thread: the role binds its addresses before it needs torch.
        threading.Thread(target=_import, args=(LEARNER,), daemon=True).start()
        with os.fdopen(read) as pipe:
            text = pipe.read()
        return self._run_role(json.loads(text)) if text else 0

    def _run_role(self, message: ForkRequest) -> int:
        waiting = [child.assign for child in self.children.values() if child.assign is not None]
        for descriptor in (*self._inherited, *waiting):
            os.close(descriptor)
        log = os.open(message["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        with contextlib.suppress(OSError), open("/proc/self/comm", "w") as comm:
            comm.write(message["name"])  # The name in `ps` and `top` on Linux.
        sys.path[:0] = message["path"]
        # Run the same command as in a pod.
        command = importlib.import_module("rljob.cli.main")
        return int(command.main(message["argv"]))

    def _reap(self) -> None:
        for pid, status in self._ended():
            child = self.children.pop(pid)
            if child.name:
                self._send({"event": "exited", "name": child.name, "pid": pid, "status": status})

    def _ended(self) -> Iterator[tuple[int, int]]:
        """Pid and status of each ended child; a negative status is a signal. Also ends the child's children."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            # The child is not yet reaped, so its process group number cannot have been reused.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(found.si_pid, signal.SIGKILL)
            os.waitpid(found.si_pid, 0)
            normal = found.si_code == os.CLD_EXITED
            yield found.si_pid, found.si_status if normal else -found.si_status

    def _send(self, message: ForkRequest) -> None:
        with contextlib.suppress(OSError):  # The end of the supervisor is detected as EOF.
            self.control.sendall(json.dumps(message).encode() + b"\n")

    def _end(self) -> NoReturn:
        self.control.close()
        for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
            for pid, child in self.children.items():
                os.kill(pid, signal.SIGKILL if child.assign is not None else number)
            deadline = time.monotonic() + seconds
            while self.children and time.monotonic() < deadline:
                for pid, _ in self._ended():
                    self.children.pop(pid)
                time.sleep(0.01)
        for path in self.cleanup_paths:
            shutil.rmtree(path, ignore_errors=True)
        os._exit(0)


class _Lines:
    """JSON lines from a socket; `ended` is True after the other side has closed it."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._rest = b""
        self.ended = False

    def read(self) -> list[ForkRequest]:
        try:
            data = self._control.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        self.ended = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]


def _import(modules: tuple[str, ...]) -> None:
    for module in modules:
        # The role that needs the module imports it again and reports the error.
        with contextlib.suppress(Exception):
            importlib.import_module(module)


def _child(body: Callable[[], int]) -> NoReturn:
    """Run `body` in a new child process, in its own process group."""
    code = 1
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (*_BLOCKED, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)
        if "numpy" in sys.modules:
            # Otherwise all children would have the same random state.
            sys.modules["numpy"].random.seed()
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


if __name__ == "__main__":
    main()
