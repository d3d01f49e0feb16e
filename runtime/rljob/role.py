"""What every role's process has: its job, its addresses, its keys, when to stop, what it reports.

`rljob role NAME` makes one `RoleContext` and hands it to the role's `main`; on one machine and in a pod
alike.
"""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rljob.health import Health, Server, serve
from rljob.metrics import Metrics
from rljob.spec import RLJob
from rljob.trace import Trace
from rljob.wire import keys
from rljob.wire.sockets import Client, Wire

STALLED_AFTER = 30.0
"""Seconds without a turn of its loop after which a role is not healthy."""
SURVIVE_PARENT_CHECK = 1.0
"""Seconds between two looks whether the process that started this one still lives."""


@dataclass(frozen=True)
class RoleContext:
    """One role's process.

    Attributes:
        job: what is trained.
        role: `rollout`, `buffer`, `learner` or `evaluator`.
        index: which of the role's replicas this is.
        attempt: how often this replica was started before, for its random numbers.
        buffer, learner: addresses, see `rljob.wire.endpoints`.
        keys: folder of CURVE keys; None where only this machine can connect.
        folder: where this role keeps its files.
        resume: whether to go on from the checkpoints in `folder`.
        trace: folder for `Trace`, if any.
    """

    job: RLJob
    role: str
    index: int
    attempt: int
    buffer: str
    learner: str
    keys: Path | None
    folder: Path
    resume: bool
    metrics_host: str
    metrics_port: int
    trace: Path | None
    started: int = field(default_factory=time.time_ns)
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        """Unique in the job, e.g. `rollout-0`."""
        return f"{self.role}-{self.index}"

    @property
    def seed(self) -> int:
        """The job's seed; a job without one has had one drawn when it was resolved."""
        return self.job.spec.seed or 0

    def stopping(self) -> bool:
        """Whether the process was asked to end."""
        return self._stop.is_set()

    def wire(self, rejected: Callable[[Client, str], None]) -> Wire:
        """The sockets of this process."""
        own = keys.read(self.keys, self.role) if self.keys is not None else None
        return Wire(job_number(self.job), own, rejected)

    def tracer(self) -> Trace:
        return Trace(self.trace, self.name)

    def observe(self, metrics: Metrics) -> tuple[Health, Server]:
        """Serve metrics and health; the port is printed."""
        health = Health(STALLED_AFTER)
        server = serve(metrics.registry, health, self.metrics_host, self.metrics_port)
        logging.getLogger("rljob").info(
            "%s: metrics at http://%s:%d/metrics", self.name, self.metrics_host, server.port
        )
        return health, server

    def stop_on_signals(self) -> None:
        """End orderly on SIGTERM and SIGINT, and when the parent process dies."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        threading.Thread(target=self._watch_parent, args=(os.getppid(),), daemon=True).start()

    def _watch_parent(self, parent: int) -> None:
        while not self._stop.wait(SURVIVE_PARENT_CHECK):
            if os.getppid() != parent:
                self._stop.set()


def job_number(job: RLJob) -> int:
    """The job's number on the wire: 64 bits of a hash of namespace, name and uid."""
    metadata = job.metadata
    text = f"{metadata.namespace or ''}/{metadata.name}/{metadata.uid or ''}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def actor_number(name: str) -> int:
    """A rollout's number on the wire: 64 bits of a hash of its name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def log_to_stderr(name: str) -> None:
    """One line for each event: time, role, message."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format=f"%(asctime)s {name} %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
