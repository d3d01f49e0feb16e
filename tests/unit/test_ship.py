"""A rollout's side of delivery: credit, repetition, and nothing dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from rljob.errors import RunError
from rljob.process.trace import Trace
from rljob.roles.rollout.ship import (
    FRAMES,
    HELLO_EVERY,
    SILENT_AFTER,
    STATUS_EVERY,
    WORTH_WAITING,
    Shipper,
)
from rljob.telemetry.metrics import RolloutMetrics
from rljob.wire.experience import ACTOR_WINDOW, ExperienceFormat
from rljob.wire.messages import Header, MessageKind, decode_json, encode_json, other_version
from rljob.wire.refused import PeerRefusal
from tests.unit.experience import FakeEndpoint, on_policy_plan

ACTOR, EPOCH = 3, 9
STAMP = (5, 2)


class Line:
    """A shipper, and the buffer's part played by the test."""

    def __init__(self, folder: Path | None = None) -> None:
        self.plan = on_policy_plan()
        self.size = self.plan.layout.size
        self.endpoint = FakeEndpoint()
        self.metrics = RolloutMetrics()
        self.now = 10.0
        self.shipper = Shipper(
            cast(Any, self.endpoint),
            self.plan,
            ACTOR,
            EPOCH,
            self.metrics,
            Trace(folder, "rollout-0"),
        )

    def hear(self, header: Header, payload: bytes = b"", after: float = 0.0) -> None:
        self.endpoint.inbox.append((header, payload))
        self.wait(after)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.shipper.service(self.now)

    def welcome(self) -> None:
        self.wait(0.0)
        self.hear(Header(MessageKind.WELCOME))

    def grant(self, segments: int, ack: int = 0, bits: int = 0, **more: int) -> None:
        header = Header(
            MessageKind.GRANT, epoch=EPOCH, limit=segments * self.size, ack=ack, bits=bits
        )
        header.lineage, header.version = more.pop("lineage", 0), more.pop("version", -1)
        self.hear(header)

    def ship(self, episodes: Any = ()) -> None:
        assert self.shipper.ready(STAMP, self.now + WORTH_WAITING)
        frame = self.shipper.frame()
        for array in frame.arrays.values():
            array[...] = self.shipper._sender.next_seq
        records = np.array(episodes, np.float64).reshape(-1, 3)
        self.shipper.ship(frame, records, STAMP, self.now)

    def segments(self) -> list[int]:
        """Seqs sent since the last call; each must carry its own data."""
        seqs = []
        for header, payload in self.endpoint.take(MessageKind.SEGMENT):
            arrays = self.plan.layout.views(payload)
            assert (arrays["action"] == header.seq).all()
            assert (header.actor, header.epoch) == (ACTOR, EPOCH)
            assert (header.lineage, header.version) == STAMP
            seqs.append(header.seq)
        return seqs


def test_hello_is_repeated_until_welcome() -> None:
    line = Line()
    line.wait(0.0)
    header, payload = line.endpoint.take(MessageKind.HELLO)[0]
    assert (header.actor, header.epoch, header.ack, header.limit) == (ACTOR, EPOCH, 0, 0)
    assert ExperienceFormat.from_json(decode_json(payload)) == line.plan
    line.wait(HELLO_EVERY / 2)
    assert not line.endpoint.sent
    line.wait(HELLO_EVERY)
    assert line.endpoint.take(MessageKind.HELLO)
    line.hear(Header(MessageKind.WELCOME))
    line.wait(HELLO_EVERY)
    assert not line.endpoint.take(MessageKind.HELLO)


def test_hello_that_could_not_be_sent_is_sent_as_soon_as_it_can() -> None:
    line = Line()
    line.endpoint.connected = False
    line.wait(0.0)
    line.endpoint.connected = True
    line.wait(0.0)
    assert line.endpoint.take(MessageKind.HELLO)


def test_no_segment_is_begun_without_credit_and_weights() -> None:
    line = Line()
    late = line.now + 100
    assert not line.shipper.ready(STAMP, late)
    line.welcome()
    assert not line.shipper.ready(STAMP, late)
    line.grant(1)
    assert line.shipper.ready(STAMP, late)
    assert not line.shipper.ready((0, -1), late), "no weights at all"
    line.grant(1, lineage=5, version=3)
    assert not line.shipper.ready(STAMP, late), "too old a version"
    assert line.shipper.ready((5, 3), late)
    assert not line.shipper.ready((4, 9), late), "of a learner that died"
    line.hear(Header(MessageKind.WHO))
    assert not line.shipper.ready((5, 3), late), "the buffer does not know us"


def test_unacknowledged_segments_are_told_also_when_acknowledged_at_once() -> None:
    def told() -> float:
        return cast(float, line.metrics.unacked_segments._value.get())

    line = Line()
    line.welcome()
    line.grant(4)
    line.ship()
    line.ship()
    line.grant(4, ack=2)
    line.wait(STATUS_EVERY)
    assert told() == 2
    line.wait(STATUS_EVERY)
    assert told() == 0
    line.grant(4, ack=2)
    line.ship()
    line.wait(STATUS_EVERY)
    line.wait(STATUS_EVERY)
    assert told() == 1, "it is still kept"


def test_what_is_sent_is_the_segment_and_its_episodes() -> None:
    line = Line()
    line.welcome()
    line.grant(1)
    line.ship([[1.5, 3.0, 1.0], [2.5, 4.0, 2.0]])
    header, payload = line.endpoint.take(MessageKind.SEGMENT)[0]
    assert line.plan.layout.matches(memoryview(payload))
    assert header.size == len(payload) == line.size + 48
    tail = np.frombuffer(payload[line.size :]).reshape(-1, 3)
    assert tail.tolist() == [[1.5, 3.0, 1.0], [2.5, 4.0, 2.0]]
    assert not line.shipper.credited, "credit counts without the episodes"
    most = [[1.0, 1.0, 1.0]] * line.plan.steps
    line.grant(2, ack=1)
    line.ship(most)
    assert len(line.endpoint.take(MessageKind.SEGMENT)[0][1]) == line.size + line.plan.records_bytes


def test_credit_is_absolute() -> None:
    line = Line()
    line.welcome()
    for _ in range(3):
        line.grant(2)
    line.ship()
    line.grant(1)
    line.ship()
    assert not line.shipper.credited
    assert line.segments() == [0, 1]


def test_without_acknowledgement_the_frames_run_out_and_nothing_is_dropped() -> None:
    line = Line()
    line.welcome()
    line.grant(100)
    for _ in range(FRAMES):
        line.ship()
    assert not line.shipper.credited
    assert line.shipper.unacked == FRAMES >= ACTOR_WINDOW
    line.grant(100, ack=2, bits=0b10)
    assert line.shipper.unacked == FRAMES - 3
    line.segments()
    line.wait(1.0)
    assert line.segments() == [2, 3, 5]
    for _ in range(3):
        line.ship()
    assert line.segments() == [6, 7, 8]


def test_each_segment_is_repeated_when_it_is_old() -> None:
    line = Line()
    line.welcome()
    line.grant(4)
    line.ship()
    line.now += 0.6
    line.ship()
    line.segments()
    line.wait(0.5)
    assert line.segments() == [0]
    line.wait(0.5)
    assert line.segments() == [1]
    line.grant(4, ack=2)
    line.wait(5.0)
    assert line.segments() == []


def test_a_restarted_buffer_hears_hello_and_all_that_it_did_not_confirm() -> None:
    line = Line()
    line.welcome()
    line.grant(4)
    for _ in range(4):
        line.ship()
    line.grant(4, ack=1, bits=0b1)
    line.segments()
    line.endpoint.take(MessageKind.HELLO)
    line.hear(Header(MessageKind.WHO), after=HELLO_EVERY)
    line.hear(Header(MessageKind.WHO), after=0.01)
    header, _ = line.endpoint.take(MessageKind.HELLO)[0]
    assert (header.ack, header.bits, header.limit) == (1, 1, 4 * line.size)
    assert line.segments() == []
    line.hear(Header(MessageKind.WELCOME))
    assert line.segments() == [1, 3]
    line.hear(Header(MessageKind.WELCOME))
    assert line.segments() == [], "a second welcome changes nothing"


def test_grants_of_another_life_are_not_ours() -> None:
    line = Line()
    line.welcome()
    line.hear(Header(MessageKind.GRANT, epoch=EPOCH - 1, limit=9 * line.size, ack=9))
    assert not line.shipper.credited


def test_status_says_what_is_granted_and_how_it_waits() -> None:
    line = Line()
    line.welcome()
    line.endpoint.take(MessageKind.STATUS)
    line.grant(3)
    line.shipper.waiting = 0.25
    line.wait(STATUS_EVERY)
    header, payload = line.endpoint.take(MessageKind.STATUS)[0]
    assert header.limit == 3 * line.size
    told = decode_json(payload)
    assert told.pop("memory") > 10e6
    assert told.pop("cores") >= 0
    assert told == {"waiting": 0.25}


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (encode_json({"message": "you differ"}), "you differ"),
        (b"", "no reason"),
        (b"x", "no reason"),
    ],
)
def test_a_refusal_ends_the_rollout(payload: bytes, text: str) -> None:
    line = Line()
    with pytest.raises(RunError, match=text):
        line.hear(Header(MessageKind.REFUSED), payload)


def refused(newest: int) -> tuple[Header, bytes]:
    return Header(MessageKind.REFUSED), encode_json(
        {"message": "a newer one works", "newest": newest}
    )


def test_a_rollout_that_has_just_begun_is_newer_whatever_the_clocks_say() -> None:
    line = Line()
    line.wait(0.0)
    line.endpoint.take(MessageKind.HELLO)
    line.hear(*refused(EPOCH + 5))
    line.hear(*refused(EPOCH + 5))
    (hello,) = line.endpoint.take(MessageKind.HELLO)
    assert hello[0].epoch == EPOCH + 6
    line.hear(Header(MessageKind.WELCOME))
    line.hear(Header(MessageKind.GRANT, epoch=EPOCH + 6, limit=line.size))
    line.ship()
    assert line.endpoint.take(MessageKind.SEGMENT)[0][0].epoch == EPOCH + 6


def test_a_rollout_that_was_replaced_ends() -> None:
    line = Line()
    line.welcome()
    line.hear(Header(MessageKind.WHO))
    with pytest.raises(RunError, match="a newer one works"):
        line.hear(*refused(EPOCH + 5))


def test_a_rollout_that_works_ends_when_the_buffer_is_of_another_version() -> None:
    line = Line()
    line.welcome()
    with pytest.raises(RunError, match="the buffer refused this rollout: this client speaks"):
        line.hear(Header(MessageKind.REFUSED), PeerRefusal(other_version(1)).encode())


def test_it_is_connected_while_the_buffer_answers() -> None:
    line = Line()
    assert not line.shipper.connected(line.now)
    line.welcome()
    assert line.shipper.connected(line.now)
    assert not line.shipper.connected(line.now + SILENT_AFTER)
    line.now += SILENT_AFTER
    line.grant(1)
    assert line.shipper.connected(line.now)
    line.hear(Header(MessageKind.WHO))
    assert not line.shipper.connected(line.now)


def test_its_last_words() -> None:
    line = Line()
    line.shipper.leave()
    assert not line.endpoint.sent, "nobody knows it"
    line.welcome()
    line.endpoint.take(MessageKind.STATUS)
    line.shipper.leave()
    ((_, payload),) = line.endpoint.take(MessageKind.STATUS)
    assert decode_json(payload) == {"leaving": True}


def test_a_new_version_on_its_way_is_worth_a_moment() -> None:
    line = Line()
    line.welcome()
    header = Header(
        MessageKind.GRANT, epoch=EPOCH, limit=2 * line.size, lineage=5, version=2, seq=4
    )
    line.hear(header)
    assert not line.shipper.ready(STAMP, line.now)
    assert line.shipper.ready((5, 3), line.now)
    line.hear(header, after=WORTH_WAITING / 2)
    assert not line.shipper.ready(STAMP, line.now), (
        "hearing it again does not begin the moment anew"
    )
    assert line.shipper.ready(STAMP, line.now + WORTH_WAITING)


def test_acknowledged_segments_are_traced_once(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.welcome()
    line.grant(2)
    line.ship()
    line.ship()
    line.grant(2, ack=0, bits=0b1)
    line.grant(2, ack=2)
    line.grant(2, ack=2)
    (path,) = tmp_path.iterdir()
    assert path.read_text().splitlines() == [f"acked {ACTOR} {EPOCH} {seq}" for seq in (1, 0)]


def test_an_application_tells_at_once_when_it_has_something_to_send_and_when_no_more() -> None:
    line, waits = Line(), [0]
    line.shipper = Shipper(
        cast(Any, line.endpoint), line.plan, ACTOR, EPOCH, RolloutMetrics(), Trace(None, ""),
        "game", dict, lambda: waits[0],
    )  # fmt: skip
    line.welcome()
    line.endpoint.sent.clear()
    told = []
    for number in (0, 3, 2, 0, 0, 1):
        waits[0] = number
        line.wait(0.01)
        told.append(
            [decode_json(memoryview(p))["waits"] for _, p in line.endpoint.take(MessageKind.STATUS)]
        )
    assert told == [[], [3], [], [0], [], [1]]
    line.hear(Header(MessageKind.WHO))
    line.endpoint.sent.clear()
    line.hear(Header(MessageKind.WELCOME))
    line.wait(0.01)
    (_, status), *_ = line.endpoint.take(MessageKind.STATUS)
    assert decode_json(memoryview(status))["waits"] == 1, (
        "a buffer that was restarted does not know it"
    )
