"""A rollout's or evaluator's connection to the learner's policy versions."""

from __future__ import annotations

from rljob.wire.messages import Header, MessageKind
from rljob.wire.sockets import Endpoint
from rljob.wire.weights import Chunk, Stamp, Want, WeightClient


class Subscription:
    """Keeps a `WeightClient` and its socket in step."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._client = WeightClient()

    @property
    def stamp(self) -> Stamp:
        """(lineage, version) of the newest whole payload."""
        return self._client.have

    @property
    def rejected(self) -> int:
        """Payloads whose digest was wrong."""
        return self._client.rejected

    def newest(self, now: float) -> bytes | None:
        """Take what has arrived; the newest whole payload if there is a new one. Then comes `ask`: a
        version is in use sooner when the next one is asked for after it."""
        newest = None
        for message in self._endpoint.receive():
            if message.header.kind is MessageKind.CHUNK:
                newest = (
                    self._client.arrived(_chunk(message.header, message.payload), now) or newest
                )
        return newest

    def ask(self, now: float) -> None:
        """Send a request, if it is due."""
        want = self._client.due(now)
        if want is not None and not self._endpoint.send(b"", _want(want)):
            self._client.unsent()


def _want(want: Want) -> Header:
    (lineage, version), (epoch, seq) = want.have, want.receiving
    return Header(
        MessageKind.WANT,
        lineage=lineage,
        version=version,
        epoch=epoch,
        seq=seq + 1,
        ack=want.offset,
    )


def read_want(header: Header) -> Want:
    """The request that a WANT header carries."""
    return Want((header.lineage, header.version), (header.epoch, header.seq - 1), header.ack)


def chunk_header(chunk: Chunk) -> Header:
    """The header of a CHUNK."""
    lineage, version = chunk.stamp
    return Header(
        MessageKind.CHUNK, lineage=lineage, version=version, seq=chunk.offset, limit=chunk.total
    )


def _chunk(header: Header, payload: memoryview) -> Chunk:
    return Chunk((header.lineage, header.version), header.seq, header.limit, payload)
