"""The process beside an application: it owns the sockets, sends what the program hands over, and fetches policy versions.

It is started with a socket whose other end the program alone holds. It tells events there, one JSON object in a line, and is woken by
anything that comes. When the program has ended, it delivers what was handed over, within a bound, and exits.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import signal
import socket
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rljob.application.ring import Control, FrameRing, PolicySlot
from rljob.errors import RLJobError, RunError
from rljob.process.context import actor_number, log_to_stderr
from rljob.process.trace import Trace
from rljob.roles.rollout.ship import SILENT_AFTER, Shipper
from rljob.run_folder.write_whole import write_whole
from rljob.telemetry.metrics import RolloutMetrics
from rljob.wire.application_keys import ApplicationKeyWatch
from rljob.wire.description import JobDescription
from rljob.wire.endpoints import buffer_endpoints, weights_endpoint
from rljob.wire.experience import ExperienceFormat
from rljob.wire.messages import NO_JOB, Header, MessageKind, Rejected, decode_json
from rljob.wire.refused import PeerRefusal
from rljob.wire.sockets import Client, Endpoint, Wire
from rljob.wire.subscription import Subscription

ORDERS = "orders.json"
"""File in the shared folder with `CourierOrders`."""
ASK_EVERY = 0.5
WAIT = 0.1
"""Longest wait of the loop, in seconds; the program wakes it."""
DRAIN_SECONDS = 10.0
"""Longest time of deliveries after the program has ended, while the buffer answers."""
NEW_KEY_SECONDS = 180.0
"""How long a key may be refused that was never admitted: on a cluster the kubelet brings new keys to the pods within
about a minute, on one machine they are read every second."""
DOOR_SECONDS = 2.0
"""Seconds between two looks at whether the servers refuse the key."""


@dataclass(frozen=True)
class CourierOrders:
    """What a courier is to do.

    Attributes:
        name: of this process of the application, unique in the job.
        application: name of the application.
        address: of the buffer.
        weights: address of the learner; empty takes that of the description.
        keys: file of the application's key; None without.
        job: number of the job; None asks the job.
        plan: what HELLO says, as JSON; None sends nothing.
        frames: frames of the ring.
    """

    name: str
    application: str
    address: str
    weights: str
    keys: str | None
    job: int | None = None
    plan: dict[str, Any] | None = None
    frames: int = 0

    def write(self, folder: Path) -> None:
        """Raises OSError."""
        write_whole(folder / ORDERS, json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> CourierOrders:
        return cls(**json.loads((folder / ORDERS).read_text(encoding="utf-8")))


class _Program:
    """The end of the socket that the program holds."""

    def __init__(self, link: socket.socket) -> None:
        link.setblocking(False)
        self.link = link
        self.ended = False

    def heard(self) -> bool:
        """Whether anything came; notices its end."""
        try:
            data = self.link.recv(1 << 16)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        self.ended = self.ended or not data
        return True

    def tell(self, event: str, **values: Any) -> None:
        line = json.dumps({"event": event, **values}).encode() + b"\n"
        with contextlib.suppress(OSError):
            self.link.setblocking(True)
            self.link.sendall(line)
            self.link.setblocking(False)


def main() -> None:
    """`sys.argv`: the shared folder, and the number of the socket."""
    # The program alone is asked to end.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    folder, descriptor = Path(sys.argv[1]), int(sys.argv[2])
    program = _Program(socket.socket(fileno=descriptor))
    log_to_stderr("courier")
    try:
        _run(folder, program)
    except RLJobError as error:
        program.tell("refused", message=str(error))
    finally:
        program.heard()
        if program.ended:
            shutil.rmtree(folder, ignore_errors=True)


def _run(folder: Path, program: _Program) -> None:
    orders = CourierOrders.read(folder)
    if orders.job is None:
        _describe(orders, program)
        while not program.ended:
            orders = CourierOrders.read(folder)
            if orders.job is not None:
                break
            program.heard()
            time.sleep(0.005)
    if not program.ended:
        _Courier(orders, folder, program).run()


def _wire(orders: CourierOrders, job: int) -> Wire:
    if orders.keys is None:
        return Wire(job, None, _ignore)
    watch = ApplicationKeyWatch(Path(orders.keys))
    return Wire(job, watch.ring, _ignore, watch.changed)


def _ignore(client: Client, reason: str) -> None:
    """A message that breaks the protocol is dropped; what matters is repeated."""


def _describe(orders: CourierOrders, program: _Program) -> None:
    """Ask what the job is until it answers, and tell the program."""
    wire = _wire(orders, NO_JOB)
    try:
        address = buffer_endpoints(orders.address).experience
        endpoint = wire.connect(address, f"{orders.name}.asks", "buffer", tells_refusals=True)
        wire.watch(program.link.fileno())
        door = _Door(endpoint, orders, program)
        asked = float("-inf")
        while not program.ended:
            now = time.monotonic()
            if now - asked >= ASK_EVERY:
                endpoint.send(b"", Header(MessageKind.DESCRIBE))
                asked = now
            wire.wait(WAIT)
            program.heard()
            for message in endpoint.receive():
                if message.header.kind is MessageKind.REFUSED:
                    reason = PeerRefusal.read(message.payload).message
                    raise RunError(f"the job refused this application: {reason}")
                if message.header.kind is MessageKind.DESCRIPTION:
                    found = decode_json(message.payload)
                    # Checked here as well, so that the program gets nothing that is not a description.
                    JobDescription.from_json(found)
                    program.tell("description", description=found)
                    if "spaces" in found:
                        return
            door.look(now)
    except Rejected as error:
        raise RunError(
            f"the job describes itself in a form that this rljob cannot read: {error}"
        ) from None
    finally:
        wire.close()


class _Door:
    """Whether a server admits the key. One that it has never admitted may be newer than what the server knows of."""

    def __init__(self, endpoint: Endpoint, orders: CourierOrders, program: _Program) -> None:
        self._traffic, self._orders, self._program = endpoint.traffic, orders, program
        self._refused, self._admitted = 0, False
        self._since: float | None = None

    def look(self, now: float) -> None:
        """Raises RunError when the key is refused for good."""
        refused, before = self._traffic.refused.get("key", 0), self._refused
        admitted, self._admitted = self._admitted, self._traffic.received_messages > 0
        self._refused = refused
        if refused == before:
            return
        if self._orders.keys is None:
            raise RunError(
                f"{self._orders.address} admits only applications with a key; pass keys="
            )
        message = (
            f"{self._orders.address} does not admit the key {self._orders.keys}: it was revoked, or is a key of "
            "another job"
        )
        if self._since is None:
            self._since = now
            self._program.tell("not admitted", message=message)
        if admitted or now - self._since > NEW_KEY_SECONDS:
            raise RunError(message)


class _Courier:
    """The loop, once the job is known."""

    def __init__(self, orders: CourierOrders, folder: Path, program: _Program) -> None:
        assert orders.job is not None
        self._orders, self._program = orders, program
        self._control = Control(folder, make=False)
        self._slot = PolicySlot(folder, self._control)
        self._wire = _wire(orders, orders.job)
        self._wire.watch(program.link.fileno())
        weights = self._wire.connect(
            weights_endpoint(orders.weights), orders.name, "learner", tells_refusals=True
        )
        self._subscription = Subscription(weights)
        self._doors = [_Door(weights, orders, program)]
        self._shipper: Shipper | None = None
        if orders.plan is not None:
            plan = ExperienceFormat.from_json(orders.plan)
            size = plan.layout.size
            self._ring = FrameRing(
                folder, self._control, size, plan.episode_numbers, orders.frames, make=False
            )
            self._plan = plan
            experience = self._wire.connect(
                buffer_endpoints(orders.address).experience,
                orders.name,
                "buffer",
                tells_refusals=True,
            )
            self._doors.append(_Door(experience, orders, program))
            self._shipper = Shipper(
                experience,
                plan,
                actor_number(orders.name),
                time.time_ns(),
                RolloutMetrics(),
                Trace(None, ""),
                orders.application,
                lambda: self._control.faults,
                lambda: self._ring.backlog,
            )

    def run(self) -> None:
        """Until the program has ended, and what it handed over is delivered."""
        looked = 0.0
        try:
            while not self._program.ended:
                now = time.monotonic()
                self._fetch(now)
                self._ship(now)
                if now - looked >= DOOR_SECONDS:
                    looked = now
                    for door in self._doors:
                        door.look(now)
                self._wire.wait(WAIT)
                self._program.heard()
            self._drain(time.monotonic() + DRAIN_SECONDS)
        finally:
            self._wire.close()

    def _fetch(self, now: float) -> None:
        payload = self._subscription.newest(now)
        if payload is not None:
            try:
                self._slot.write(self._subscription.stamp, payload)
            except OSError as error:
                logging.getLogger("rljob").warning("a policy version is left out: %s", error)
        self._subscription.ask(now)

    def _ship(self, now: float) -> None:
        shipper = self._shipper
        if shipper is None:
            return
        shipper.service(now)
        while shipper.credited and (stamp := next(self._ring.waiting(), None)) is not None:
            if stamp < shipper.minimum:
                self._ring.skip_stale()
                continue
            frame = shipper.frame()
            records = self._ring.take(frame.payload)
            if records is not None:
                shipper.ship(frame, records, stamp, time.monotonic())

    def _drain(self, deadline: float) -> None:
        shipper = self._shipper
        if shipper is None:
            return
        patience = time.monotonic() + SILENT_AFTER
        while (now := time.monotonic()) < deadline:
            self._ship(now)
            if self._ring.empty and not shipper.unacked:
                break
            if now > patience and not shipper.connected(now):
                break
            self._wire.wait(0.01)
            # The end of the socket can be read for ever.
            time.sleep(0.001)
        shipper.leave()
