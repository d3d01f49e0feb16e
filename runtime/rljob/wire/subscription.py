"""A rollout's or evaluator's connection to the learner's policy versions."""

from __future__ import annotations

from rljob.errors import RunError
from rljob.wire.evaluated import PlayedPolicy, evaluated_message
from rljob.wire.messages import Header, MessageKind, Rejected
from rljob.wire.refused import PeerRefusal
from rljob.wire.sockets import Endpoint, Message
from rljob.wire.weights import ACCEPTED, SAFETENSORS, Chunk, Stamp, Want, WeightClient


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
    def receiving(self) -> bool:
        """Whether a payload has come in part."""
        return self._client.receiving

    @property
    def rejected(self) -> int:
        """Payloads whose digest was wrong."""
        return self._client.rejected

    def newest(self, now: float) -> bytes | None:
        """Take what has arrived; the newest whole payload if there is a new one. Then comes `ask`: a
        version is in use sooner when the next one is asked for after it.

        Raises:
            RunError: the learner refused this client, for example because it speaks another wire version.
        """
        newest = None
        for message in self._endpoint.receive():
            if message.header.kind is MessageKind.CHUNK:
                newest = self._arrived(message, now) or newest
            elif message.header.kind is MessageKind.REFUSED:
                reason = PeerRefusal.read(message.payload).message
                raise RunError(f"the learner refused to send policy versions: {reason}")
        return newest

    def ask(self, now: float) -> None:
        """Send a request, if it is due."""
        want = self._client.due(now)
        if want is not None and not self._endpoint.send(b"", _want(want)):
            self._client.unsent()

    def tell(self, played: PlayedPolicy) -> bool:
        """Send an evaluation; False when it could not be sent."""
        return self._endpoint.send(b"", *evaluated_message(played))

    def _arrived(self, message: Message, now: float) -> bytes | None:
        try:
            chunk = read_chunk(message.header, message.payload)
        except Rejected as error:
            self._endpoint.refuse(message, error)
            return None
        return self._client.arrived(chunk, now)


def _want(want: Want) -> Header:
    (lineage, version), (epoch, seq) = want.have, want.receiving
    return Header(
        MessageKind.WANT,
        lineage=lineage,
        version=version,
        epoch=epoch,
        seq=seq + 1,
        ack=want.offset,
        bits=ACCEPTED,
    )


def read_want(header: Header) -> Want:
    """The request that a WANT header carries.

    Raises:
        Rejected: the client does not accept the encoding that there is.
    """
    if not header.bits & ACCEPTED:
        text = f"this client accepts the encodings of weights {header.bits:#x}, which lack bit {SAFETENSORS}"
        raise Rejected("encoding", f"{text}, safetensors")
    return Want((header.lineage, header.version), (header.epoch, header.seq - 1), header.ack)


def chunk_header(chunk: Chunk) -> Header:
    """The header of a CHUNK."""
    lineage, version = chunk.stamp
    return Header(
        MessageKind.CHUNK,
        lineage=lineage,
        version=version,
        seq=chunk.offset,
        bits=SAFETENSORS,
        limit=chunk.total,
    )


def read_chunk(header: Header, payload: memoryview) -> Chunk:
    """What a CHUNK carries.

    Raises:
        Rejected: it is part of a payload in an encoding that this client did not ask for.
    """
    if header.bits != SAFETENSORS:
        raise Rejected("encoding", f"weights in the unknown encoding {header.bits}")
    return Chunk((header.lineage, header.version), header.seq, header.limit, payload)
