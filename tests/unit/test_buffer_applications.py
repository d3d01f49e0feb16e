"""Credit of applications: who has nothing to send keeps nobody waiting, and nothing older than the bound is trained on."""

from __future__ import annotations

import pytest

from rljob.spec.experience import OnPolicy
from rljob.wire.experience import ExperienceFormat
from rljob.wire.messages import Header, MessageKind, encode_json
from tests.unit.experience import Bench, of_kind, on_policy_plan, replay_plan

STRANGER = 9


class Job(Bench):
    """A buffer with a learner, and what each sender may send."""

    def __init__(self, plan: ExperienceFormat, idle: int) -> None:
        super().__init__()
        self.plan = plan
        self.granted: dict[int, int] = {}
        for actor in range(1, idle + 1):
            self.begin(actor, f"app-{actor}")
        self.attach(segments_per_batch=2)
        self.pull(0, 100)

    def begin(self, actor: int, application: str = "") -> None:
        hello = self.plan.to_json()
        if application:
            hello["application"] = application
        header = Header(MessageKind.HELLO, actor=actor, epoch=1)
        self.say(f"rollout-{actor}", header, encode_json(hello))

    def status(self, actor: int, **told: int) -> int:
        """Tell it, and return the credit that is left, in segments."""
        header = Header(MessageKind.STATUS, actor=actor, epoch=1)
        self.now += 1
        self.say(f"rollout-{actor}", header, encode_json({"waiting": 0.0, **told}))
        for message in of_kind(self.turn(), MessageKind.GRANT):
            self.granted[message.header.actor] = message.header.limit // self.plan.layout.size
        return self.granted[actor] - self.buffer.rollouts.actors[actor].receiver.count


@pytest.mark.parametrize("plan", [on_policy_plan(2), replay_plan()])
def test_applications_that_have_nothing_keep_no_rollout_waiting(plan: ExperienceFormat) -> None:
    job = Job(plan, idle=8)
    for _ in range(3):
        assert [job.status(actor, waits=0) for actor in range(1, 9)] == [0] * 8
    job.begin(STRANGER)
    assert job.status(STRANGER) >= 2
    for seq in range(6):
        assert job.status(STRANGER) >= 1, "it goes on"
        job.segment(plan, seq, STRANGER)
        if isinstance(plan.data, OnPolicy) and seq % 2:
            job.pull(seq + 1, 100, version=seq // 2 + 1)


def test_an_application_gets_credit_for_what_it_has() -> None:
    plan = on_policy_plan(2)
    job = Job(plan, idle=2)
    assert job.status(1, waits=1) == 1
    job.segment(plan, 0, 1)
    assert job.status(1, waits=0) == 0
    assert job.status(2, waits=40) == 3, "two batches, less the one that is there"
    # What it had was too old meanwhile: its credit is not waited for.
    assert job.status(2, waits=0) == 3
    assert job.status(1, waits=9) == 3


def test_without_the_number_it_gets_credit_as_a_rollout_does() -> None:
    job = Job(on_policy_plan(2), idle=1)
    assert job.status(1) == 4


@pytest.mark.parametrize("waits", [-1, 2**31, 1.5, True, "1"])
def test_a_number_that_is_none_is_rejected(waits: int) -> None:
    job = Job(on_policy_plan(2), idle=1)
    job.status(1, waits=0)
    header = Header(MessageKind.STATUS, actor=1, epoch=1)
    job.say("rollout-1", header, encode_json({"waits": waits}))
    assert job.told.reasons == ["json"]


def test_what_waited_too_long_at_an_application_is_never_trained_on() -> None:
    """It sends its oldest first: what is older than the bound when its turn comes is dropped and counted."""
    plan = on_policy_plan(2)
    job = Job(plan, idle=1)
    job.begin(STRANGER)
    sent, version, late = {1: 0, STRANGER: 0}, 0, 0
    for turn in range(60):
        # The application's are up to 7 versions behind; the bound is 4.
        for actor, acted in ((1, max(0, version - turn % 8)), (STRANGER, version)):
            if job.status(actor, **({"waits": 200} if actor == 1 else {})):
                job.segment(plan, sent[actor], actor, version=acted)
                sent[actor] += 1
                late += version - acted > 4
        job.turn()
        if len(job.told.lags) >= 2 * (version + 1):
            version += 1
            job.pull(2 * version, 100, version=version)
    evicted = [origin for reason, origin in job.told.evictions if reason == "lag"]
    assert version > 20
    assert max(job.told.lags) == 4
    assert len(evicted) >= late > 5
    assert {actor for actor, _, _ in evicted} == {1}
