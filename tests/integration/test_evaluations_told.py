"""Who may tell the learner what was evaluated: with keys, the evaluator alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rljob.roles.learner.weight_server import Publisher
from rljob.spec.roles import ROLES
from rljob.telemetry.metrics import LearnerMetrics
from rljob.wire.application_keys import ApplicationKey
from rljob.wire.evaluated import PlayedPolicy, evaluated_message
from rljob.wire.keygen import generate
from rljob.wire.keys import KeyRing, read
from rljob.wire.messages import Header, MessageKind
from rljob.wire.sockets import Wire, new_keypair
from tests.integration.sides import JOB, Sides, tcp, until


def played(mean: float) -> tuple[Header, bytes]:
    return evaluated_message(PlayedPolicy(1, 4, 3, mean, 0.0, mean, mean))


def told(keys: KeyRing | None, *clients: tuple[str, KeyRing | None]) -> tuple[set[float], int]:
    """The means that the learner was told, and how many messages it rejected; each client tells its own number."""
    rejected: list[str] = []
    wire, address = Wire(JOB, keys, lambda _, reason: rejected.append(reason)), tcp()
    publisher = Publisher(wire, address, LearnerMetrics())
    found: set[float] = set()
    try:
        with Sides() as sides:
            for number, (name, ring) in enumerate(clients):
                client = sides.client(address, ring, name, "learner")

                def heard(number: int = number, count: int = len(rejected)) -> bool:
                    found.update(each.mean for each in publisher.evaluations())
                    return number in found or len(rejected) > count

                until(heard, client.take, sends(client.endpoint.send, number))
    finally:
        publisher.close()
    assert set(rejected) <= {"unexpected"}
    return found, len(rejected)


def sends(send: Callable[..., bool], number: int) -> Callable[[], object]:
    """Sends what was played now and then, until it has arrived."""
    sent = 0.0

    def turn() -> None:
        nonlocal sent
        if time.monotonic() - sent > 0.5:
            sent = time.monotonic()
            header, payload = played(number)
            assert header.kind is MessageKind.EVALUATED
            send(b"", header, payload)

    return turn


def test_the_evaluator_alone_is_believed(tmp_path: Path) -> None:
    generate(tmp_path / "keys")
    keys = {role: read(tmp_path / "keys", role) for role in ROLES}
    public, secret = new_keypair()
    servers = {role: (keys[role].own.public,) for role in ("buffer", "learner")}
    application = ApplicationKey("game", public, secret, servers)
    learner = replace(keys["learner"], applications={"game": public})
    # A name proves nothing: all of them have that of the evaluator.
    means, rejected = told(
        learner,
        ("evaluator", keys["rollout"]),
        ("evaluator", application.ring),
        ("evaluator", keys["evaluator"]),
    )
    assert means == {2.0}
    assert rejected >= 2


def test_without_keys_all_of_this_machine_are_believed() -> None:
    assert told(None, ("evaluator", None)) == ({0.0}, 0)
