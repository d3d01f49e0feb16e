"""The learner's connection to the buffer: in order, each once, over restarts of the buffer."""

from __future__ import annotations

from typing import Any, cast
from unittest.mock import Mock

import numpy as np
import pytest

from rljob.errors import RunError
from rljob.roles.learner.batches import Batches
from rljob.roles.learner.source import ASK_EVERY, REQUEST_EVERY, UNREACHED_AFTER, ExperienceSource
from rljob.telemetry.metrics import LearnerMetrics
from rljob.wire.arrays import pack, unpack
from rljob.wire.experience import ExperienceFormat
from rljob.wire.messages import Header, MessageKind, decode_json, encode_json, other_version
from rljob.wire.refused import PeerRefusal
from rljob.wire.watermark import Watermark
from tests.unit.experience import FakeEndpoint, make_payload, on_policy_plan, replay_plan

LINEAGE = 77
NAMES = np.frombuffer(b"rollout-0", np.uint8)
Origin = tuple[int, int, int]


def value(metrics: LearnerMetrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"rljob_learner_{name}", labels) or 0.0


class Link:
    """A source, and the buffer's part played by the test."""

    def __init__(
        self, plan: ExperienceFormat, ahead: int = 1, watermark: Watermark | None = None
    ) -> None:
        self.plan = plan
        self.endpoint = FakeEndpoint()
        self.metrics = LearnerMetrics()
        self.source = ExperienceSource(
            cast(Any, Mock()), cast(Any, self.endpoint), LINEAGE, ahead, 3, self.metrics
        )
        self.source.watermark = watermark or Watermark()
        self.now = 0.0
        self.life = 0

    @property
    def duplicates(self) -> float:
        return value(self.metrics, "segments_duplicate_total")

    def rejected(self, reason: str) -> float:
        return value(self.metrics, "messages_rejected_total", reason=reason)

    def poll(self, passed: float = ASK_EVERY) -> None:
        self.now += passed
        self.source.poll(self.now)

    def hello(self) -> tuple[Header, dict[str, Any]]:
        """The newest HELLO."""
        header, payload = self.endpoint.take(MessageKind.HELLO)[-1]
        return header, decode_json(payload)

    def pull(self) -> Header:
        """The newest PULL."""
        return self.endpoint.take(MessageKind.PULL)[-1][0]

    def welcome(self, arena: int = 5, steps: int = 0) -> None:
        """A buffer's new life welcomes the learner."""
        self.life += 1
        answer = {"plan": self.plan.to_json(), "arena": arena, "steps": steps, "episodes": 0}
        self.endpoint.inbox.append(
            (Header(MessageKind.WELCOME, ack=self.life), encode_json(answer))
        )
        self.poll()

    def deliver(self, position: int, seq: int, actor: int = 1, epoch: int = 1) -> None:
        header = Header(
            MessageKind.SEGMENT,
            actor=actor,
            epoch=epoch,
            seq=seq,
            version=3,
            ack=self.life,
            limit=position,
        )
        self.endpoint.inbox.append((header, bytes(make_payload(self.plan, seq))))

    def who(self) -> None:
        self.endpoint.inbox.append((Header(MessageKind.WHO), b""))
        self.poll()

    def statistics(self, first: int, *returns: float, arena: int = 5) -> None:
        records = np.array([[value, 1.0, value] for value in returns], np.float64).reshape(-1, 3)
        same = np.zeros(len(returns), np.int64)
        told = {
            "episode": records,
            "version": same,
            "rollout": same,
            "stored_then": same,
            "names": NAMES,
        }
        payload = pack({**told, "steps": np.array([9.0])})
        header = Header(MessageKind.STATS, epoch=arena, seq=first, ack=self.life)
        self.endpoint.inbox.append((header, payload.tobytes()))

    def heard(self) -> list[float]:
        self.poll()
        found = [r for s in self.source.statistics for r in s.episodes.records[:, 0].tolist()]
        self.source.statistics.clear()
        return found

    def take(self) -> list[Origin]:
        """All segments that can be taken now, in order."""
        self.poll()
        found = []
        while (message := self.source.take()) is not None:
            segment = self.source.segment(message)
            if segment is not None:
                assert (segment.arrays["reward"] == segment.origin[2]).all()
                found.append(segment.origin)
        return found


def opened(plan: ExperienceFormat, **options: Any) -> Link:
    link = Link(plan, **options)
    link.source.version = 10
    link.poll()
    link.welcome()
    return link


def test_hello_is_repeated_until_welcome() -> None:
    link = Link(on_policy_plan())
    link.source.version = 4
    for _ in range(3):
        link.poll()
        header, known = link.hello()
        assert (header.epoch, header.version) == (LINEAGE, 4)
        assert known == {"trained": [], "holding": [], "segments_per_batch": 3}
    assert link.source.poll(link.now) is None
    assert not link.endpoint.sent, "not before its time"
    link.welcome(arena=5, steps=800)
    found = link.source.poll(link.now)
    assert found is not None
    assert (found.plan, found.arena, found.steps) == (link.plan, 5, 800)


def test_requests_are_absolute_and_repeated_while_nothing_comes() -> None:
    link = opened(on_policy_plan(segments_per_batch=4))
    for _ in range(3):
        link.poll()
        pull = link.pull()
        assert (pull.epoch, pull.version, pull.ack, pull.seq, pull.limit) == (LINEAGE, 10, 0, 0, 8)
    for position in range(5):
        link.deliver(position, position)
    held = link.take()[:4]
    assert len(held) == 4
    link.poll()
    assert link.pull().seq == 5, "what has come is not asked for"
    link.source.trained(held)
    link.source.confirm(11, link.now)
    pull = link.pull()
    assert (pull.version, pull.ack, pull.limit) == (11, 5, 13)


def test_in_lockstep_no_more_than_one_batch_is_asked_for() -> None:
    link = opened(on_policy_plan(segments_per_batch=4), ahead=0)
    assert link.pull().limit == 4


def test_deliveries_are_taken_in_order_and_once() -> None:
    link = opened(on_policy_plan(segments_per_batch=2))
    link.deliver(1, 1)
    link.deliver(2, 2)
    assert link.take() == []
    link.poll()
    assert link.pull().seq == 0
    link.deliver(0, 0)
    link.deliver(1, 1)
    assert link.take() == [(1, 1, 0), (1, 1, 1), (1, 1, 2)]
    for position in range(3):
        link.deliver(position, position)
    assert link.take() == []
    assert link.duplicates == 0, "repetitions are dropped by position"


def test_a_segment_at_another_position_is_not_taken_again() -> None:
    link = opened(on_policy_plan(segments_per_batch=2))
    link.deliver(0, 0)
    link.deliver(1, 0)
    assert link.take() == [(1, 1, 0)]
    link.source.trained([(1, 1, 0)])
    link.deliver(2, 0)
    assert link.take() == []
    assert link.duplicates == 2


def test_only_what_was_trained_on_is_in_the_watermark() -> None:
    """A checkpoint must not claim a batch that was begun and never trained on."""
    link = opened(on_policy_plan(segments_per_batch=2))
    for position in range(3):
        link.deliver(position, position)
    taken = link.take()
    assert link.source.watermark.to_json() == []
    link.source.trained(taken[:2])
    assert link.source.watermark.to_json() == [[1, 1, 2, 0]]
    assert not link.source.watermark.has(*taken[2])


def test_a_new_life_says_what_the_checkpoint_holds() -> None:
    mark = Watermark()
    mark.take(9, 8, 0)
    link = Link(on_policy_plan(), watermark=mark)
    link.poll()
    assert link.hello()[1]["trained"] == [[9, 8, 1, 0]]


def test_a_restarted_buffer_hears_what_is_held() -> None:
    link = opened(on_policy_plan(segments_per_batch=4))
    for position in range(6):
        link.deliver(position, position)
    link.poll()
    held = []
    for _ in range(5):
        message = link.source.take()
        assert message is not None
        segment = link.source.segment(message)
        assert segment is not None
        held.append(segment.origin)
    link.source.trained(held[:4])
    link.source.confirm(11, link.now)
    link.who()
    header, known = link.hello()
    assert (header.version, known["trained"]) == (11, [[1, 1, 4, 0]])
    assert known["holding"] == [[1, 1, 4]]
    assert link.take() == [], "what was not taken will be sent again"
    assert link.hello()[1]["holding"] == [[1, 1, 4]]
    link.welcome()
    pull = link.pull()
    assert (pull.ack, pull.seq, pull.limit) == (0, 1, 8), "what is held has the first positions"
    link.deliver(1, 5)
    link.deliver(2, 6)
    assert link.take() == [(1, 1, 5), (1, 1, 6)]


def test_what_an_earlier_life_of_the_buffer_sent_is_dropped() -> None:
    link = opened(on_policy_plan(segments_per_batch=1))
    link.who()
    link.deliver(0, 7)
    late = link.endpoint.inbox.pop()
    link.welcome()
    link.endpoint.inbox.append(late)
    assert link.take() == []
    link.deliver(0, 0)
    assert link.take() == [(1, 1, 0)]


def test_a_second_welcome_changes_nothing() -> None:
    link = opened(on_policy_plan(segments_per_batch=1))
    link.deliver(0, 0)
    assert link.take() == [(1, 1, 0)]
    link.life -= 1
    link.welcome()
    link.deliver(0, 0)
    assert link.take() == []


def test_a_restore_is_asked_for_until_the_first_welcome_only() -> None:
    link = Link(replay_plan())
    link.source.restore = {"restore": "0001", "sha256": "ab"}
    link.poll()
    assert link.hello()[1]["restore"] == "0001"
    link.welcome()
    link.who()
    assert "restore" not in link.hello()[1]


def refuse(link: Link, newest: Any) -> None:
    answer = encode_json({"message": "a newer one is running", "newest": newest})
    link.endpoint.inbox.append((Header(MessageKind.REFUSED), answer))
    link.poll()


def test_a_learner_that_has_just_begun_is_newer_whatever_the_clocks_say() -> None:
    link = Link(on_policy_plan())
    link.poll()
    refuse(link, LINEAGE + 5)
    assert link.source.lineage == LINEAGE + 6
    assert link.hello()[0].epoch == LINEAGE + 6
    refuse(link, LINEAGE + 5)
    assert link.source.lineage == LINEAGE + 6, "an answer to the first HELLO"
    link.welcome()
    assert link.pull().epoch == LINEAGE + 6


def test_a_learner_that_was_replaced_ends() -> None:
    link = opened(on_policy_plan())
    link.who()
    with pytest.raises(RunError, match="a newer one is running"):
        refuse(link, LINEAGE + 5)


@pytest.mark.parametrize("works", [False, True])
def test_a_learner_ends_when_the_buffer_is_of_another_version(works: bool) -> None:
    link = opened(on_policy_plan()) if works else Link(on_policy_plan())
    link.poll()
    link.endpoint.inbox.append(
        (Header(MessageKind.REFUSED), PeerRefusal(other_version(3)).encode())
    )
    with pytest.raises(RunError, match="the buffer refused this learner: this client speaks wire"):
        link.poll()


def test_a_learner_that_works_ignores_an_answer_to_an_earlier_hello() -> None:
    link = opened(on_policy_plan())
    refuse(link, LINEAGE + 5)
    assert link.source.lineage == LINEAGE


def test_another_kind_of_experience_ends_the_learner() -> None:
    link = opened(on_policy_plan())
    link.who()
    link.plan = on_policy_plan(length=5)
    with pytest.raises(RunError, match="experience of another format than before"):
        link.welcome()


def test_the_learner_decides_where_the_plan_leaves_the_batch_open() -> None:
    link = opened(on_policy_plan(segments_per_batch=0), ahead=0)
    assert link.pull().limit == 3
    batches = Batches(link.source, link.plan, 3)
    for position in range(3):
        assert batches.next(10) is None
        link.deliver(position, position)
        link.poll()
    batch = batches.next(10)
    assert batch is not None
    assert batch.segments == [(1, 1, 0), (1, 1, 1), (1, 1, 2)]


def test_malformed_messages_are_counted_and_dropped() -> None:
    link = opened(on_policy_plan(segments_per_batch=1))
    link.deliver(0, 0)
    header, payload = link.endpoint.inbox.pop()
    for bad in (payload[:-64], b"", b"\0" + payload[1:]):
        link.endpoint.inbox.append((header, bad))
    link.endpoint.inbox.append((Header(MessageKind.STATS, ack=link.life), b"nonsense"))
    link.endpoint.inbox.append(
        (Header(MessageKind.STATS, ack=link.life), pack({"a": np.zeros(1)}).tobytes())
    )
    assert link.take() == []
    assert [link.rejected(reason) for reason in ("layout", "table", "json")] == [3, 1, 1]
    link.deliver(0, 0)
    assert link.take() == [(1, 1, 0)]


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"plan": {}, "arena": 1, "steps": 0}'])
def test_a_welcome_that_says_nothing_is_dropped(payload: bytes) -> None:
    link = Link(on_policy_plan())
    link.endpoint.inbox.append((Header(MessageKind.WELCOME, ack=1), payload))
    link.poll()
    assert link.rejected("json") == 1
    assert link.hello()


def test_what_an_earlier_life_heard_is_not_heard_again() -> None:
    link = Link(on_policy_plan())
    link.source.heard = (5, 42)
    link.source.version = 10
    link.poll()
    link.welcome()
    link.statistics(40, 1.0, 2.0, 3.0)
    link.poll()
    (statistics,) = link.source.statistics
    assert (statistics.first, statistics.episodes.rollouts.tolist()) == (42, ["rollout-0"])
    assert link.heard() == [3.0]


@pytest.mark.parametrize(
    "changes",
    [
        {"episode": np.zeros((1, 2))},
        {"episode": np.zeros(3)},
        {"version": np.zeros(2, np.int64)},
        {"rollout": np.zeros(2, np.int64)},
        {"rollout": np.array([1])},
        {"rollout": np.array([-1])},
    ],
    ids=str,
)
def test_malformed_statistics_are_rejected(changes: dict[str, np.ndarray]) -> None:
    link = opened(on_policy_plan())
    same = np.zeros(1, np.int64)
    told = {
        "episode": np.zeros((1, 3)),
        "version": same,
        "rollout": same,
        "stored_then": same,
        "names": NAMES,
    }
    payload = pack({**told, **changes, "steps": np.array([9.0])})
    link.endpoint.inbox.append((Header(MessageKind.STATS, epoch=5, ack=link.life), bytes(payload)))
    assert link.heard() == []
    assert link.rejected("layout") == 1


def test_every_episode_is_heard_once() -> None:
    link = opened(on_policy_plan())
    assert link.pull().bits == 0
    link.statistics(40, 1.0, 2.0)
    assert link.heard() == [1.0, 2.0]
    assert link.pull().bits == 42
    link.statistics(40, 1.0, 2.0, 3.0)
    link.statistics(42, 3.0, 4.0)
    link.statistics(41, 2.0)
    assert link.heard() == [3.0, 4.0]
    assert link.pull().bits == 44
    link.statistics(50, 9.0)
    assert link.heard() == [9.0], "those in between died with the buffer"
    assert link.pull().bits == 51
    link.who()
    link.welcome(arena=6)
    assert link.pull().bits == 0, "the number was another file's"
    link.statistics(0, 5.0, arena=6)
    assert link.heard() == [5.0], "another file counts anew"
    assert link.pull().bits == 1


def test_priorities_go_out_as_they_are() -> None:
    link = opened(replay_plan(priority_exponent=0.5))
    keys = np.array([[1, 2**63]], np.uint64)
    link.source.reprioritise(keys, np.array([[0.5, 2.0]]))
    header, payload = link.endpoint.take(MessageKind.PRIORITIES)[0]
    arrays = unpack(memoryview(payload))
    assert header.epoch == LINEAGE
    np.testing.assert_array_equal(arrays["key"], keys)
    assert arrays["priority"].dtype == np.float32


def test_replay_asks_for_one_delivery_ahead() -> None:
    link = opened(replay_plan())
    assert link.pull().limit == 2
    payload = pack({"reward": np.zeros((2, 8), np.float32)}).tobytes()
    link.endpoint.inbox.append(
        (Header(MessageKind.BATCH, version=3, ack=link.life, limit=0), payload)
    )
    link.poll()
    assert link.source.take() is not None
    link.source.confirm(11, link.now)
    assert (link.pull().limit, link.source.take()) == (3, None)


def test_a_buffer_that_answers_nothing_is_out_of_reach() -> None:
    link = Link(on_policy_plan(1))
    link.welcome()
    link.poll()
    # A long update, in which nothing was asked, is no silence of the buffer.
    link.statistics(0)
    link.poll(100.0)
    assert not link.source.unreached(link.now)
    began = link.now
    while link.now < began + UNREACHED_AFTER:
        link.poll()
        assert link.source.unreached(link.now) == (link.now >= began + UNREACHED_AFTER)
    link.statistics(0)
    link.poll()
    assert not link.source.unreached(link.now)


def test_a_request_for_a_snapshot_is_repeated_until_it_is_answered() -> None:
    link = Link(replay_plan())
    link.welcome()

    def asked() -> int:
        link.source.request_snapshot("000120", 2, link.now)
        return len(link.endpoint.take(MessageKind.SNAPSHOT))

    assert [asked(), asked()] == [1, 0]
    link.now += REQUEST_EVERY
    assert asked() == 1
    # A buffer that was restarted does not know us yet.
    link.who()
    link.now += REQUEST_EVERY
    assert asked() == 0
    link.welcome()
    assert asked() == 1
