"""When a client connects again."""

from __future__ import annotations

from rljob.wire.silence import LOOKED_AWAY, RECONNECT_AFTER, Silence
from rljob.wire.weights import KEEP_ALIVE, NOTHING, Published, Want, WeightClient, WeightServer


def looks(silence: Silence, start: float, seconds: float, every: float = 0.5) -> list[float]:
    """When it was due in some time."""
    times = [start + every * k for k in range(int(seconds / every) + 1)]
    return [now for now in times if silence.due(now)]


def test_silence_is_due_again_and_again() -> None:
    assert looks(Silence(), 100.0, 35.0) == [110.0, 120.0, 130.0]


def test_a_message_ends_the_silence() -> None:
    silence = Silence()
    assert looks(silence, 0.0, 9.5) == []
    silence.heard()
    assert looks(silence, 9.5, 9.5) == []
    assert looks(silence, 19.0, 1.0) == [19.5]


def test_time_in_which_nobody_listened_is_no_silence() -> None:
    silence = Silence()
    every = LOOKED_AWAY + 0.1
    assert looks(silence, 0.0, 10 * RECONNECT_AFTER, every) == []


def test_a_learner_says_that_it_is_there_and_clients_ignore_it() -> None:
    server, client = WeightServer(), WeightClient()
    want = client.due(0.0)
    assert want == Want(NOTHING, NOTHING, 0)
    assert server.wanted(b"c", want, 0.0) == []
    ((who, chunk),) = server.keep_alive(0.0)
    assert (who, chunk.stamp, bytes(chunk.payload)) == (b"c", NOTHING, b"")
    assert client.arrived(chunk, 0.1) is None
    assert server.keep_alive(KEEP_ALIVE / 2) == []
    ((_, chunk),) = server.publish(Published.of((1, 0), b"weights"))
    assert client.arrived(chunk, 0.2) == b"weights"
    assert server.keep_alive(2 * KEEP_ALIVE) == [], "nobody waits"
    assert client.have == (1, 0)
