"""Peers of other wire versions over real sockets: both sides learn of it, in one sentence."""

from __future__ import annotations

import contextlib
import hashlib
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from rljob.errors import RunError
from rljob.process.trace import Trace
from rljob.roles.buffer.core import Buffer
from rljob.roles.buffer.server import BufferReporter
from rljob.roles.buffer.store import StoreSettings
from rljob.roles.learner.weight_server import Publisher
from rljob.telemetry.metrics import BufferMetrics, LearnerMetrics
from rljob.wire.messages import Header, MessageKind, decode
from rljob.wire.refused import ANSWER_EVERY, PeerRefusal
from rljob.wire.sockets import Wire
from rljob.wire.subscription import Subscription
from tests.integration.sides import DEADLINE, JOB, Sides, raw, sent, tcp, until
from tests.wire_versions import REFUSED, first_header, first_refused

HELLO = 1
PATIENCE = int(1000 * DEADLINE)
"""Milliseconds."""
BODY = b'{"layout":[]}'


@pytest.fixture(params=["ipc", "tcp"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/s" if request.param == "ipc" else tcp()


@pytest.fixture
def sides() -> Iterator[Sides]:
    with Sides() as made:
        yield made


def hello(wire: int, job: int = JOB) -> list[bytes]:
    """A rollout's first message, put together by hand."""
    return [first_header(HELLO, job, len(BODY), wire), BODY]


@pytest.mark.parametrize(("wire", "older"), [(1, "client"), (3, "server")])
def test_a_client_of_another_version_is_told_and_counted(
    address: str, wire: int, older: str
) -> None:
    metrics = BufferMetrics()
    settings = StoreSettings(1000, 4, None, strict=False, seed=0)
    buffer = Buffer(settings, None, 1, BufferReporter(metrics, Trace(None, "")))
    server = Wire(JOB, None, buffer.rejected)
    endpoint = server.serve(address, "experience")
    try:
        with raw(address, b"rollout-0") as client:
            client.send_multipart(hello(wire))
            until(
                lambda: client.poll(0), lambda: server.wait(0.01), lambda: list(endpoint.receive())
            )
            header, payload = client.recv_multipart()
    finally:
        server.close()
    sentence = first_refused(header, payload, wire, JOB)
    assert f"client speaks wire version {wire} and the server 2, so the {older}'s" in sentence
    counted = metrics.registry.get_sample_value(
        "rljob_buffer_messages_rejected_total", {"reason": "wire_version"}
    )
    assert counted == 1


def test_a_flood_is_counted_and_answered_a_bounded_number_of_times(
    sides: Sides, address: str
) -> None:
    server, healthy, flood = sides.server(address), sides.client(address), 3000
    with raw(address) as bad:
        began = time.monotonic()
        for _ in range(flood):
            until(lambda: bad.poll(0, zmq.POLLOUT), server.take)
            bad.send_multipart(hello(1))
        until(lambda: len(server.rejected) == flood, server.take)
        seconds = time.monotonic() - began
        # The last answer has come when one to another question has.
        server.endpoint.send(b"bad", Header(MessageKind.WHO))
        answers: list[list[bytes]] = []
        while not answers or answers[-1][0][5] != MessageKind.WHO:
            assert bad.poll(PATIENCE)
            answers.append(bad.recv_multipart())
        sent(healthy, Header(MessageKind.STATUS, seq=1))
        until(lambda: server.seqs == [1], server.take)
    assert 1 <= len(answers) - 1 <= 1 + seconds / ANSWER_EVERY
    assert set(server.rejected) == {(b"bad", "wire_version")}


def test_nothing_else_is_answered(sides: Sides, address: str) -> None:
    """Not what is of another job, of another protocol or cut, and no REFUSED: two servers cannot refuse each other."""
    server = sides.server(address)
    header, body = hello(1)
    silent = {
        "job": hello(1, JOB + 1),
        "magic": [b"RLJC" + header[4:], body],
        "header": [header[:-1], body],
        "frames": [header, body, b""],
        "wire_version": [first_header(REFUSED, JOB, len(body)), body],
        "kind": [Header(MessageKind.HELLO, JOB, size=13).encode()[:5] + b"\x63" + header[6:], body],
    }
    with raw(address) as bad:
        for frames in silent.values():
            bad.send_multipart(frames)
        bad.send_multipart(hello(3))
        until(lambda: bad.poll(0), server.take)
        answers = [bad.recv_multipart()]
        assert server.endpoint.send(b"bad", Header(MessageKind.WHO))
        until(lambda: bad.poll(0), server.take)
        assert bad.recv_multipart()[0][5] == MessageKind.WHO, "there was one answer"
    assert [reason for _, reason in server.rejected] == [*silent, "wire_version"]
    assert answers[0][0][4] == 3


@pytest.mark.parametrize(
    ("header", "reason", "sentence"),
    [
        (
            Header(MessageKind.HELLO, JOB, shard=3),
            "shard",
            "wants shard 3, and the server is shard 0",
        ),
        (Header(MessageKind.HELLO, JOB, rank=2), "rank", "names rank 2, and the only learner has"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_shard_or_rank_that_is_not_there_is_refused(
    sides: Sides, header: Header, reason: str, sentence: str
) -> None:
    address = tcp()
    server = sides.server(address)
    with raw(address) as client:
        client.send_multipart([header.encode(), b""])
        until(lambda: client.poll(0), server.take)
        answer, payload = client.recv_multipart()
    assert server.rejected == [(b"bad", reason)]
    assert struct.unpack_from("<HH", answer, 60) == (header.shard, header.rank)
    assert sentence in PeerRefusal.read(payload).message
    assert not server.messages


# -- the link of weights -------------------------------------------------------------------------


def test_a_subscriber_ends_when_a_learner_of_another_version_refuses_it(sides: Sides) -> None:
    address = tcp()
    subscriber = sides.client(address, to="learner")
    subscription = Subscription(subscriber.endpoint)
    context = zmq.Context()
    learner = context.socket(zmq.ROUTER)
    learner.bind(address)

    def turn() -> None:
        subscription.ask(time.monotonic())
        subscriber.wire.wait(0.01)

    try:
        until(lambda: learner.poll(0), turn)
        name, want, _ = learner.recv_multipart()
        assert decode(want, 0, JOB).kind is MessageKind.WANT
        # A later version answers with the form that each version reads.
        payload = PeerRefusal("the sentence of version 3").encode()
        learner.send_multipart([name, first_header(REFUSED, JOB, len(payload), wire=2), payload])
        with pytest.raises(RunError, match="policy versions: the sentence of version 3"):
            until(lambda: False, turn, lambda: subscription.newest(time.monotonic()))
    finally:
        learner.close(0)
        context.term()


@contextlib.contextmanager
def publisher(address: str) -> Iterator[tuple[Publisher, list[str]]]:
    """A learner's thread that serves one version, and what it rejects."""
    rejected: list[str] = []
    wire = Wire(JOB, None, lambda _, reason: rejected.append(reason))
    made = Publisher(wire, address, LearnerMetrics())
    try:
        made.publish((5, 1), b"weights")
        yield made, rejected
    finally:
        made.close()


def test_a_subscriber_that_reads_no_safetensors_is_refused(sides: Sides) -> None:
    address = tcp()
    with publisher(address) as (_, rejected), raw(address) as client:
        client.send_multipart([Header(MessageKind.WANT, JOB, bits=0b110).encode(), b""])
        assert client.poll(PATIENCE)
        header, payload = client.recv_multipart()
        assert decode(header, len(payload), JOB).kind is MessageKind.REFUSED
        assert (
            "accepts the encodings of weights 0x6, which lack bit 0"
            in PeerRefusal.read(payload).message
        )
        assert rejected == ["encoding"]
        # One that accepts further encodings gets the one that there is.
        client.send_multipart([Header(MessageKind.WANT, JOB, bits=0b111).encode(), b""])
        assert client.poll(PATIENCE)
        header, payload = client.recv_multipart()
        assert decode(header, len(payload), JOB).kind is MessageKind.CHUNK
        assert payload.endswith(b"weights")


def test_weights_in_an_unknown_encoding_are_counted_and_not_applied(sides: Sides) -> None:
    address = tcp()
    learner = sides.server(address, name="weights")
    client = sides.client(address, to="learner")
    subscription = Subscription(client.endpoint)
    applied: list[bytes] = []

    def turn() -> None:
        learner.take()
        subscription.ask(time.monotonic())
        client.wire.wait(0.01)
        if (payload := subscription.newest(time.monotonic())) is not None:
            applied.append(payload)

    until(lambda: learner.messages, turn)
    for encoding, text in ((9, b"squeezed"), (0, b"weights")):
        chunk = hashlib.sha256(text).digest() + text
        header = Header(MessageKind.CHUNK, version=1, lineage=5, limit=len(text), bits=encoding)
        assert learner.endpoint.send(b"peer", header, chunk)
    until(lambda: applied, turn)
    assert applied == [b"weights"]
    assert client.rejected == [(b"", "encoding")]
