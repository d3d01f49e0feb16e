"""Context of a role's process: job, addresses, keys, stop requests, report.

`rljob role NAME` makes one `RoleContext` and passes it to the role's `main`, both on one machine and in a
pod.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rljob.process.servers import Addresses, RolePages, Servers
from rljob.process.stopping import Stopping
from rljob.process.trace import Trace
from rljob.run_folder.write_whole import write_whole
from rljob.spec import RLJob
from rljob.spec.roles import RoleName
from rljob.spec.status import LearnerReport
from rljob.telemetry.health import Health, open_pages
from rljob.telemetry.metrics_base import Metrics
from rljob.telemetry.pages import Answer, Page
from rljob.telemetry.role_state import RoleState, main_stack
from rljob.wire.key_watch import KeyWatch
from rljob.wire.rotation import KeyReport, slowest
from rljob.wire.sockets import Client, Wire

STALLED_AFTER = 300.0
"""Seconds without a turn of its main loop after which a role is unhealthy. One step, reset or update of a
user's environment, network or algorithm may take minutes."""


@dataclass
class RoleContext:
    """Context of one role's process.

    Attributes:
        job: the job.
        role: the role, see `rljob.spec.roles`.
        given_name: a name unique in the job, such as the pod's name; None for ROLE-INDEX.
        index: index of the replica.
        attempt: number of earlier starts of this replica; part of the random seed.
        buffer, learner: addresses, see `rljob.wire.endpoints`.
        keys: folder of CURVE keys; None if only this machine can connect.
        folder: folder for the role's files.
        resume: whether to resume from the checkpoints in `folder`.
        evaluates: whether the learner plays the final policy before it ends.
        threads: number of torch threads of a learner; None uses the available cores.
        serves: where its pages are.
        port_file: file for the port of the metrics, if any.
        trace: folder for `Trace`, if any.
        report: the learner's last report.
        set_aside: folder for batches that the learner died of; None for one in `folder`.
    """

    job: RLJob
    role: RoleName
    given_name: str | None
    index: int
    attempt: int
    buffer: str
    learner: str
    keys: Path | None
    folder: Path
    resume: bool
    threads: int | None
    serves: Addresses
    trace: Path | None
    port_file: Path | None
    stop: Stopping
    started: int = field(default_factory=time.time_ns)
    report: LearnerReport | None = None
    set_aside: Path | None = None
    evaluates: bool = False
    _wires: list[Wire] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Unique in the job, e.g. `rollout-0`."""
        return self.given_name or f"{self.role}-{self.index}"

    @property
    def seed(self) -> int:
        """The job's seed. For a job without one, a seed was drawn when the job was resolved."""
        return self.job.spec.seed or 0

    @property
    def random_seed(self) -> tuple[int, ...]:
        """Seed of this process: different for each replica and for each start. Pods have no index and do
        not know their number of starts, so the name and the start time are used. In a resumed run starts are
        counted from 0 again, so the start time is added."""
        if self.given_name is not None:
            return (self.seed, actor_number(self.given_name), self.started)
        life = (self.started,) if self.resume else ()
        return (self.seed, self.index, self.attempt, *life)

    def stopping(self) -> bool:
        """Whether the process was requested to stop."""
        return self.stop.asked

    def wire(self, rejected: Callable[[Client, str], None]) -> Wire:
        """The sockets of this process."""
        number = job_number(self.job)
        if self.keys is None:
            return Wire(number, None, rejected)
        watch = KeyWatch(self.keys, self.role)
        made = Wire(number, watch.ring, rejected, watch.changed)
        self._wires.append(made)
        return made

    def tracer(self) -> Trace:
        return Trace(self.trace, self.name)

    def observe(
        self,
        metrics: Metrics,
        guarded: Mapping[str, Page] | None = None,
        private: Mapping[str, Page] | None = None,
    ) -> tuple[Health, Servers]:
        """Serve metrics, health, state and further pages, see `RolePages`. Call this first, because later
        steps of the start may take long."""
        health = Health(STALLED_AFTER, ready_seconds=self.job.spec.stall.timeout.seconds)
        pages = RolePages(
            open=open_pages(metrics.registry, health),
            guarded={"/state": lambda: self._state(health), **(guarded or {})},
            private=private or {},
        )
        return health, Servers(self.serves, pages)

    def _state(self, health: Health) -> Answer:
        state = RoleState(
            role=self.role,
            name=self.name,
            silent_seconds=round(health.silent_seconds(health.clock()), 1),
            waits_for=health.waits_for,
            doing=health.doing,
            stack=main_stack(),
            keys=self._key_report(),
        )
        return Answer.of(200, "application/json", state.model_dump_json(by_alias=True).encode())

    def _key_report(self) -> KeyReport | None:
        return slowest([wire.ring.report for wire in self._wires if wire.ring is not None])

    def announce(self, server: Servers) -> None:
        """Write and log the port of the metrics when the role is ready to work."""
        if self.port_file is not None:
            write_whole(self.port_file, str(server.port))
        logging.getLogger("rljob").info(
            "%s: metrics at http://%s:%d/metrics", self.name, self.serves.host, server.port
        )


def job_number(job: RLJob) -> int:
    """The job's number on the wire: 64 bits of a hash of namespace, name and uid."""
    metadata = job.metadata
    text = f"{metadata.namespace or ''}/{metadata.name}/{metadata.uid or ''}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def actor_number(name: str) -> int:
    """A rollout's number on the wire: 64 bits of a hash of its name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def log_to_stderr(name: str) -> None:
    """Configure logging to stderr: time, name, level and message in one line."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format=f"%(asctime)s {name} %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
