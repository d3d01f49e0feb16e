"""Starts roles by fork, from a process that has imported what they share. It starts no thread before a fork and
does not import torch itself."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict

from rljob.local.launching import LaunchRequest, exit_after, run_role
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


class ForkStarter:
    """Forks each role.

    Args:
        blocked: signals that are blocked in this process.
        inherited: descriptors that a role closes.

    Attributes:
        waiting: a process that imports torch and waits for the learner's arguments.
    """

    def __init__(self, blocked: Sequence[signal.Signals], inherited: Sequence[int]) -> None:
        self._blocked, self._inherited = blocked, inherited
        self.waiting: int | None = None
        self._assign = -1
        _import(SHARED)
        gc.collect()
        gc.freeze()
        read, write = os.pipe()
        self.waiting = self._fork(lambda: self._wait(read, write))
        self._assign = write
        os.close(read)

    def start(self, request: LaunchRequest) -> int:
        """Fork a process, or give the request to the process that waits for a learner."""
        if self.waiting is None or request.argv[:2] != ["role", "learner"]:
            return self._fork(lambda: self._run(request))
        if not request.torch:
            os.kill(self.waiting, signal.SIGKILL)
            os.waitpid(self.waiting, 0)
            os.close(self._assign)
            self.waiting = None
            return self._fork(lambda: self._run(request))
        pid, self.waiting = self.waiting, None
        with os.fdopen(self._assign, "w") as pipe, contextlib.suppress(BrokenPipeError):
            pipe.write(json.dumps(asdict(request)))
        died, _ = os.waitpid(pid, os.WNOHANG)
        return pid if not died else self._fork(lambda: self._run(request))

    def _fork(self, body: Callable[[], int]) -> int:
        pid = os.fork()
        if pid == 0:
            exit_after(lambda: self._begin(body))
        return pid

    def _begin(self, body: Callable[[], int]) -> int:
        """In the child, before its role."""
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (*self._blocked, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._blocked)
        if "numpy" in sys.modules:
            # Otherwise all children would have the same random state.
            sys.modules["numpy"].random.seed()
        return body()

    def _run(self, request: LaunchRequest) -> int:
        own = () if self.waiting is None else (self._assign,)
        for descriptor in (*self._inherited, *own):
            os.close(descriptor)
        return run_role(request)

    def _wait(self, read: int, write: int) -> int:
        os.close(write)
        # Import in a thread: the role binds its addresses before it needs torch.
        threading.Thread(target=_import, args=(LEARNER,), daemon=True).start()
        with os.fdopen(read) as pipe:
            text = pipe.read()
        return self._run(LaunchRequest(**json.loads(text))) if text else 0


def _import(modules: tuple[str, ...]) -> None:
    for module in modules:
        # The role that needs the module imports it again and reports the error.
        with contextlib.suppress(Exception):
            importlib.import_module(module)
