"""Weights: the newest version reaches everybody whole, whatever happens on the way."""

from __future__ import annotations

import hashlib
import json
import random
from collections import deque
from dataclasses import dataclass, field, replace

import pytest

from rljob.errors import InputError
from rljob.wire.messages import Header, MessageKind, Rejected
from rljob.wire.subscription import _want, chunk_header, read_chunk, read_want
from rljob.wire.weights import (
    CHUNK_BYTES,
    DIGEST_BYTES,
    MAX_WEIGHTS_BYTES,
    NOTHING,
    WINDOW,
    Chunk,
    Published,
    Stamp,
    Want,
    WeightClient,
    WeightServer,
    check_size,
)
from tests.vectors import PATH

LARGE = 20 * 1024 * 1024
"""Three windows."""


def payload(stamp: Stamp, size: int) -> bytes:
    """Bytes that only this version has."""
    return random.Random(repr(stamp)).randbytes(64) + bytes(size - 64)


def published(stamp: Stamp, size: int = 100) -> Published:
    return Published.of(stamp, payload(stamp, size))


def feed(client: WeightClient, chunks: list[Chunk], now: float = 0.0) -> list[bytes]:
    found = [client.arrived(chunk, now) for chunk in chunks]
    return [whole for whole in found if whole is not None]


def ask(client: WeightClient, server: WeightServer, now: float) -> list[Chunk]:
    want = client.due(now)
    return [] if want is None else server.wanted(b"c", want, now)


def test_the_chunks_of_the_vectors() -> None:
    vector = json.loads(PATH.read_text())["weights"]
    whole = bytes(i % 251 for i in range(CHUNK_BYTES * 9 + 5))
    assert hashlib.sha256(whole).hexdigest() == vector["digest"]
    server, client = WeightServer(Published.of((5, 12), whole)), WeightClient()
    for window in vector["windows"]:
        chunks = ask(client, server, 0.0)
        shown = [
            (c.offset, c.total, chunk_header(c).bits, hashlib.sha256(c.payload).hexdigest())
            for c in chunks
        ]
        assert shown == [(v["seq"], v["limit"], v["bits"], v["payloadSha256"]) for v in window]
        assert feed(client, chunks) in ([], [whole])
    assert client.have == (5, 12)


def test_requests_and_chunks_survive_their_headers() -> None:
    for want in (Want(NOTHING, NOTHING, 0), Want((3, 7), (3, 9), 5 * CHUNK_BYTES)):
        assert read_want(_want(want)) == want
    chunk = Chunk((3, 7), CHUNK_BYTES, 2 * CHUNK_BYTES, b"x" * 40)
    assert read_chunk(chunk_header(chunk), memoryview(chunk.payload)) == chunk
    assert chunk_header(chunk).kind is MessageKind.CHUNK
    first = Header(MessageKind.WANT, version=-1, lineage=0, bits=1)
    assert _want(Want(NOTHING, NOTHING, 0)) == first


@pytest.mark.parametrize("accepted", [0b1, 0b11, 2**64 - 1])
def test_a_client_may_accept_further_encodings(accepted: int) -> None:
    assert read_want(Header(MessageKind.WANT, bits=accepted)) == Want((0, -1), (0, -1), 0)


@pytest.mark.parametrize("accepted", [0, 0b10])
def test_a_client_has_to_accept_safetensors(accepted: int) -> None:
    with pytest.raises(Rejected, match="lack bit 0, safetensors") as caught:
        read_want(Header(MessageKind.WANT, bits=accepted))
    assert caught.value.reason == "encoding"


def test_weights_in_an_unknown_encoding_are_rejected() -> None:
    with pytest.raises(Rejected, match="unknown encoding 1") as caught:
        read_chunk(Header(MessageKind.CHUNK, bits=1), memoryview(b"x" * 40))
    assert caught.value.reason == "encoding"


def test_a_late_joiner_is_served_at_once() -> None:
    server, client = WeightServer(), WeightClient()
    server.publish(published((1, 4)))
    assert feed(client, ask(client, server, 0.0)) == [payload((1, 4), 100)]


def test_who_has_the_newest_gets_the_next_when_it_is_published() -> None:
    server, client = WeightServer(published((1, 0))), WeightClient()
    feed(client, ask(client, server, 0.0))
    assert ask(client, server, 0.0) == []
    assert server.clients == 1
    (who, chunk), *more = server.publish(published((1, 1)))
    assert (who, more) == (b"c", [])
    assert feed(client, [chunk]) == [payload((1, 1), 100)]


def test_a_version_is_published_once_and_in_order() -> None:
    server = WeightServer(published((2, 5)))
    for stamp in ((2, 5), (2, 4), (1, 9)):
        with pytest.raises(ValueError, match="does not follow"):
            server.publish(published(stamp))


def test_a_newer_lineage_counts_more_than_a_higher_version() -> None:
    client = WeightClient()
    feed(client, ask(client, WeightServer(published((1, 50))), 0.0))
    feed(client, WeightServer(published((2, 10))).wanted(b"c", Want((1, 50), NOTHING, 0), 0.0))
    assert client.have == (2, 10)
    feed(client, WeightServer(published((1, 51))).wanted(b"c", Want(NOTHING, NOTHING, 0), 0.0))
    assert client.have == (2, 10)


def test_a_wrong_digest_is_counted_and_asked_for_again_after_a_while() -> None:
    client, good = WeightClient(), published((1, 1))
    (chunk,) = ask(client, WeightServer(good), 0.0)
    assert feed(client, [replace(chunk, payload=bytes(chunk.payload[:-1]) + b"\1")]) == []
    assert (client.rejected, client.have) == (1, NOTHING)
    assert client.due(0.5) is None
    assert feed(client, ask(client, WeightServer(good), 1.0)) == [good.payload]


@pytest.mark.parametrize(
    "chunk",
    [
        Chunk((1, 2), 0, 100, b""),
        Chunk((1, 2), 0, 100, b"x" * DIGEST_BYTES),
        Chunk((1, 2), 0, 0, b"x" * 40),
        Chunk((1, 2), 0, 2**40, b"x" * 40),
        Chunk((1, 2), 0, 4, b"x" * 40),
        Chunk((1, 2), 8, 100, b"x" * 40),
        Chunk((1, 1), 0, 8, b"x" * 40),
    ],
    ids=["empty", "no data", "no size", "huge", "too much", "not the first", "not newer"],
)
def test_chunks_that_cannot_be_are_ignored(chunk: Chunk) -> None:
    client = WeightClient(have=(1, 1))
    assert client.arrived(chunk, 0.0) is None
    assert feed(client, WeightServer(published((1, 2))).wanted(b"c", Want((1, 1), NOTHING, 0), 0.0))


def test_the_server_keeps_an_old_version_only_while_it_is_read() -> None:
    server = WeightServer(published((1, 1), LARGE))
    first = server.wanted(b"c", Want(NOTHING, NOTHING, 0), 0.0)
    assert len(first) == WINDOW
    server.publish(published((1, 2), LARGE))
    assert server.wanted(b"c", Want(NOTHING, (1, 1), WINDOW * CHUNK_BYTES), 0.0)[0].stamp == (1, 1)
    assert server.wanted(b"c", Want(NOTHING, (1, 1), 2 * WINDOW * CHUNK_BYTES), 0.0)[-1].stamp == (
        1,
        1,
    )
    assert server.clients == 0
    assert server.wanted(b"c", Want((1, 1), NOTHING, 0), 0.0)[0].stamp == (1, 2)
    server.forget(b"c")
    assert server.clients == 0


def test_an_offset_behind_the_end_does_no_harm() -> None:
    server = WeightServer(published((1, 1), LARGE))
    server.wanted(b"c", Want(NOTHING, NOTHING, 0), 0.0)
    assert server.wanted(b"c", Want(NOTHING, (1, 1), 2**63), 0.0) == []
    assert server.wanted(b"c", Want(NOTHING, NOTHING, 0), 0.0)[0].offset == 0


def test_who_has_gone_is_forgotten_with_what_only_it_was_reading() -> None:
    server = WeightServer(published((1, 1), LARGE))
    server.wanted(b"gone", Want(NOTHING, NOTHING, 0), 0.0)
    server.wanted(b"waits", Want((1, 1), NOTHING, 0), 0.0)
    server.wanted(b"slow", Want(NOTHING, NOTHING, 0), 0.0)
    server.publish(published((1, 2), LARGE))
    server.wanted(b"slow", Want(NOTHING, (1, 1), WINDOW * CHUNK_BYTES), 50.0)
    assert server.clients == 3
    server.forget_silent(61.0)
    assert server.clients == 1
    assert server.wanted(b"slow", Want(NOTHING, (1, 1), 0), 62.0)[0].stamp == (1, 1)
    assert server.wanted(b"gone", Want(NOTHING, NOTHING, 0), 63.0)[0].stamp == (1, 2), "it is back"


# -- a world -------------------------------------------------------------------------------------

SMALL = 1000


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rljob.wire.weights.CHUNK_BYTES", SMALL)


@dataclass
class Link:
    """A connection of so many bytes per second that keeps the order; the learner publishes often.

    A payload larger than a window takes several requests, and versions come faster than payloads.
    """

    bytes_per_second: float
    every: float
    size: int
    server: WeightServer = field(default_factory=WeightServer)
    client: WeightClient = field(default_factory=WeightClient)
    queue: deque[Chunk] = field(default_factory=deque)
    sent: int = 0
    applied: list[Stamp] = field(default_factory=list)
    latency: float = 0.05

    def run(self, seconds: float, repeated_at: tuple[float, ...] = ()) -> None:
        wants: deque[tuple[float, Want]] = deque()
        now, version, budget = 0.0, 0, 0.0
        repeats = list(repeated_at)
        while now < seconds:
            now += 0.01
            if now >= version * self.every:
                chunks = self.server.publish(published((1, version), self.size))
                self._send([chunk for _, chunk in chunks])
                version += 1
            while wants and wants[0][0] <= now:
                self._send(self.server.wanted(b"c", wants.popleft()[1], 0.0))
            budget = min(budget, 0) + self.bytes_per_second * 0.01 if self.queue else 0.0
            while self.queue and budget > 0:
                chunk = self.queue.popleft()
                budget -= len(chunk.payload)
                if self.client.arrived(chunk, now) is not None:
                    self.applied.append(self.client.have)
            if repeats and now >= repeats[0]:
                repeats.pop(0)
                self.client.unsent()
            want = self.client.due(now)
            if want is not None:
                wants.append((now + self.latency, want))

    def _send(self, chunks: list[Chunk]) -> None:
        self.queue.extend(chunks)
        self.sent += sum(len(chunk.payload) for chunk in chunks)


@pytest.mark.usefixtures("small_chunks")
def test_a_slow_client_of_a_large_payload_is_not_starved_by_fast_publishing() -> None:
    link = Link(bytes_per_second=10 * SMALL, every=0.1, size=20 * SMALL)
    link.run(20.0)
    # 20 seconds at 10 chunks a second are 10 payloads.
    assert len(link.applied) >= 8
    assert link.applied == sorted(set(link.applied))


@pytest.mark.usefixtures("small_chunks")
def test_a_repeated_request_does_not_starve_it_either() -> None:
    """Two transfers of one client would cancel each other, window by window."""
    link = Link(bytes_per_second=10 * SMALL, every=0.1, size=20 * SMALL)
    link.run(20.0, repeated_at=(0.02, 0.5, 1.0, 1.01, 3.3, 6.0))
    assert len(link.applied) >= 4


@pytest.mark.usefixtures("small_chunks")
def test_a_window_that_takes_long_is_not_asked_for_again() -> None:
    # One chunk takes 0.8 seconds, a window 6.4; a request is repeated after one second of silence.
    link = Link(bytes_per_second=SMALL / 0.8, every=5.0, size=SMALL * 10)
    link.run(100.0, repeated_at=(0.3,))
    assert len(link.applied) >= 5
    assert link.sent < 130 * link.bytes_per_second


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("seed", range(30))
def test_versions_never_go_backwards_and_the_last_one_arrives(seed: int) -> None:
    """Loss, repetition and reordering in both directions, and restarts of either side."""
    rng = random.Random(seed)
    size = rng.choice((100, SMALL + 1, 9 * SMALL))
    server, client = WeightServer(), WeightClient()
    to_client: list[Chunk] = []
    to_server: list[Want] = []
    lineage, version, now = 1, 0, 0.0
    history: list[Stamp] = []
    for step in range(600):
        healed = step >= 300
        now += 0.3
        if not healed and rng.random() < 0.2:
            version += 1
            chunks = server.publish(published((lineage, version), size))
            to_client += [chunk for _, chunk in chunks]
        if not healed and rng.random() < 0.02:
            lineage, version, server = lineage + 1, rng.randrange(version + 1), WeightServer()
        if not healed and rng.random() < 0.02:
            client, history = WeightClient(), []
        if step == 300:
            version += 1
            server.publish(published((lineage, version), size))
        for queue in (to_client, to_server):
            if not healed and queue and rng.random() < 0.3:
                del queue[rng.randrange(len(queue))]
            if not healed and queue and rng.random() < 0.1:
                queue.append(rng.choice(queue))  # type: ignore[arg-type]
            if not healed and rng.random() < 0.1:
                rng.shuffle(queue)
        for want in to_server:
            to_client += server.wanted(b"c", want, 0.0)
        to_server.clear()
        taking, to_client = to_client[:5], to_client[5:]
        for chunk in taking:
            whole = client.arrived(chunk, now)
            if whole is not None:
                assert whole == payload(client.have, size), "whole, and of that version"
                assert not history or client.have > history[-1]
                history.append(client.have)
        if (due := client.due(now)) is not None:
            to_server.append(due)
    assert client.have == (lineage, version)
    assert client.rejected == 0


def test_a_policy_that_no_client_takes_is_refused_where_it_is_made() -> None:
    check_size(MAX_WEIGHTS_BYTES)
    with pytest.raises(InputError, match="use a smaller network") as caught:
        check_size(MAX_WEIGHTS_BYTES + 1)
    assert caught.value.path == "network"
