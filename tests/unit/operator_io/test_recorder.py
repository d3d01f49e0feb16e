"""What is said again counts up; what is said anew is a new Event."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rljob.kube.kinds import Manifest
from rljob_operator.act.recorder import AGAIN_SECONDS, LONGEST_MESSAGE, WAITING_LIMIT, EventRecorder
from rljob_operator.decide.decision import Notice
from rljob_operator.telemetry.metrics import OperatorMetrics
from tests.unit.operator_io.worlds import made

JOB = made("RLJob", "x")
SAID = Notice("Warning", "ImagePull", "cannot pull")


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder(clock: Clock) -> EventRecorder:
    api: Any = None
    return EventRecorder(api, OperatorMetrics(), clock)


def told(recorder: EventRecorder) -> Manifest:
    return recorder._waiting.get_nowait()


def test_an_event_is_about_the_job(recorder: EventRecorder) -> None:
    recorder.tell(JOB, SAID)
    event = told(recorder)
    assert event["involvedObject"]["uid"] == JOB["metadata"]["uid"]
    assert event["metadata"]["namespace"] == "ns"
    assert (event["type"], event["reason"], event["message"]) == (
        SAID.type,
        SAID.reason,
        SAID.message,
    )
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-01-01T00:00:00Z"
    assert event["count"] == 1


def test_the_same_again_is_the_same_event(recorder: EventRecorder, clock: Clock) -> None:
    recorder.tell(JOB, SAID)
    first = told(recorder)
    clock.now += timedelta(seconds=AGAIN_SECONDS)
    recorder.tell(JOB, SAID)
    second = told(recorder)
    assert second["metadata"]["name"] == first["metadata"]["name"]
    assert second["count"] == 2
    assert second["firstTimestamp"] == first["firstTimestamp"]
    assert second["lastTimestamp"] == "2026-01-01T00:10:00Z"


def test_much_later_or_of_another_job_it_is_a_new_one(
    recorder: EventRecorder, clock: Clock
) -> None:
    recorder.tell(JOB, SAID)
    recorder.tell(made("RLJob", "x", uid="other"), SAID)
    recorder.tell(JOB, replace(SAID, message="something else"))
    clock.now += timedelta(seconds=AGAIN_SECONDS + 1)
    recorder.tell(JOB, SAID)
    events = [told(recorder) for _ in range(4)]
    assert len({event["metadata"]["name"] for event in events}) == 4
    assert {event["count"] for event in events} == {1}


def test_a_long_message_is_cut(recorder: EventRecorder) -> None:
    recorder.tell(JOB, replace(SAID, message="x" * 5000))
    assert len(told(recorder)["message"]) == LONGEST_MESSAGE


def test_too_many_are_dropped_and_counted(recorder: EventRecorder) -> None:
    for _ in range(WAITING_LIMIT + 3):
        recorder.tell(JOB, SAID)
    assert recorder._metrics.events["dropped"]._value.get() == 3
