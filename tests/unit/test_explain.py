"""What is concluded from a situation, and how it is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rljob import spec
from rljob.diagnosis.page import page
from rljob.diagnosis.probes import RoleProbe
from rljob.diagnosis.samples import Samples, parse
from rljob.diagnosis.situation import RoleCount, Situation, stall_of
from rljob.diagnosis.stall import Stall
from rljob.diagnosis.verdict import explain
from rljob.show.view.panel import text
from rljob.spec.roles import RoleName
from rljob.spec.status import CheckpointStatus, Failure, ProgressStatus
from rljob.telemetry.role_state import RoleState
from tests.unit.specs import job

SPEC = spec.parse(job()).spec
PROGRESS = ProgressStatus(steps=81_920, mean_return=123.4, steps_per_second=5000)


def spent(role: RoleName, name: str = "", **seconds: float) -> RoleProbe:
    """A process that spent its time so, of ten seconds."""
    key = f"rljob_{role}_stage_seconds_total"
    after = {(key, (("stage", stage),)): value for stage, value in seconds.items()}
    samples = Samples(dict.fromkeys(after, 0.0), after, 10.0)
    name = name or f"{role}-0"
    return RoleProbe(role, name, RoleState(role=role, name=name), samples)


def situation(**changes: Any) -> Situation:
    given: dict[str, Any] = {
        "name": "x",
        "place": "default",
        "local": False,
        "phase": "Training",
        "spec": SPEC,
        "progress": PROGRESS,
        **changes,
    }
    return Situation(**given)


def shown(given: Situation) -> str:
    return "\n".join(text(line) for line in page(given, explain(given)))


def role(name: RoleName, ready: int = 1, reason: str = "", message: str = "") -> RoleCount:
    return RoleCount(name, 1, ready, 0, reason, message)


def blocked(name: RoleName, reason: str, message: str) -> Situation:
    return situation(
        phase="Pending", reason=reason, message=message, roles=[role(name, 0, reason, message)]
    )


HUNG = Stall(
    "EnvironmentHung", "a has done nothing.", "rollout", "a", ("l.py:1 run", "e.py:7 step")
)
BUSY = spent("learner", update=9.0, data_wait=1.0)
IDLE = spent("learner", update=2.0, data_wait=8.0)


@pytest.mark.parametrize(
    ("given", "verdict", "tries"),
    [
        (
            blocked("rollout", "Unschedulable", "0/2 nodes are available: 2 Insufficient cpu."),
            "x is not training: the rollout is not ready: Unschedulable: 0/2 nodes are available",
            "lower the requests",
        ),
        (
            blocked("learner", "ImagePullBackOff", "no such image"),
            "the learner is not ready: ImagePullBackOff: no such image.",
            "correct spec.image",
        ),
        (
            blocked("buffer", "QuotaExceeded", "exceeded quota: pods"),
            "QuotaExceeded",
            "ResourceQuota",
        ),
        (
            situation(
                phase="Pending", reason="InvalidTemplate", message="Deployment x-rollout: bad"
            ),
            "x is not training: InvalidTemplate: Deployment x-rollout: bad.",
            "names the field",
        ),
        (
            situation(stall=HUNG, reason="EnvironmentHung"),
            "x is not training: a has done nothing.",
            "Restart replaces rollouts",
        ),
        (
            situation(phase="Pending", unseen=True),
            "No operator has processed the newest change of x.",
            "deployment",
        ),
        (
            situation(phase="Pending", unseen=True, managed_by="kueue.x-k8s.io/multikueue"),
            "x is left to kueue.x-k8s.io/multikueue",
            "this controller",
        ),
        (situation(phase="Suspended"), "x is suspended at step 81,920.", "rljob resume x"),
        (
            situation(phase="Failed", reason="BackoffLimitExceeded", message="it failed 4 times"),
            "x has failed: BackoffLimitExceeded: it failed 4 times.",
            "correct the cause",
        ),
        (
            situation(
                phase="Failed",
                reason="BackoffLimitExceeded",
                last_failure=Failure(role="learner", pod="p", reason="OOMKilled", time=""),
            ),
            "x has failed",
            "limits.memory",
        ),
        (situation(phase="Stopped", local=True, place="runs/x-1"), "was stopped", "--dir runs/x-1"),
        (
            situation(processes=[IDLE, spent("rollout", environment=7.0, acting=1.0)]),
            "rollouts are the bottleneck: the learner waits 80 % of its time, they spend 70 %",
            "rljob scale x --replicas 4",
        ),
        (
            situation(local=True, processes=[IDLE, spent("rollout", environment=1.0, acting=7.0)]),
            "choosing actions",
            "rollout.envsPerReplica: 32",
        ),
        (
            situation(processes=[BUSY, spent("rollout", environment=3.0, credit_wait=6.0)]),
            "the learner is the bottleneck: updates take 90 % of its time",
            "make the learner faster",
        ),
        (
            situation(processes=[IDLE, spent("rollout", environment=3.0, weights_wait=6.0)]),
            "maxPolicyLag is the bottleneck: rollouts wait 60 % of their time",
            "buffer.maxPolicyLag",
        ),
        (
            situation(processes=[spent("learner", checkpoint=4.0), spent("rollout", acting=9.0)]),
            "40 % of its time saving checkpoints",
            "checkpoint.interval",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_verdict_and_what_to_try(given: Situation, verdict: str, tries: str) -> None:
    found = explain(given)

    assert verdict in found.verdict
    assert found.verdict.endswith(".")
    assert tries in "\n".join(found.tries)
    assert shown(given).startswith(found.verdict)


def test_a_job_that_trains_without_some_of_its_pods_says_so_and_what_to_do() -> None:
    message = "out of memory: limit 200Mi, 6 restarts in 75 s"
    found = explain(situation(roles=[role("learner"), role("rollout", 1, "OOMKilled", message)]))

    assert not found.well
    assert f"but not with all of the rollout (1 of 1 ready): OOMKilled: {message}." in found.verdict
    assert found.tries[0].startswith("raise resources.limits.memory of the container rollout")


def test_for_how_long_it_has_been_blocked() -> None:
    given = blocked("learner", "VolumePending", "volume claim x-checkpoints is not bound")
    found = explain(replace(given, blocked_seconds=250.0))

    assert found.verdict.endswith("is not bound. It has been so for 4m 10s.")
    assert "kubectl describe pvc" in found.tries[0]


def test_what_needs_nothing_says_so() -> None:
    complete = explain(situation(phase="Complete", reason="StepsReached", message="1,000 steps"))
    balanced = explain(situation(processes=[BUSY, spent("rollout", environment=9.0)]))

    assert complete.well
    assert complete.verdict == "x is complete: StepsReached: 1,000 steps."
    assert balanced.well
    assert balanced.tries == ()
    assert not explain(situation(stall=HUNG)).well


def test_a_job_that_starts_says_for_whom_it_waits() -> None:
    waiting = RoleState(role="rollout", name="rollout-0", waits_for="weights")
    found = explain(
        situation(
            phase="Starting",
            roles=[role("rollout", 0), role("buffer")],
            processes=[RoleProbe("rollout", "rollout-0", waiting)],
        )
    )

    assert found.verdict == (
        "x is starting: it waits for the rollout (0 of 1 ready); rollout-0 waits for weights."
    )


def test_the_evidence() -> None:
    links = parse(
        """
# TYPE rljob_rollout_link_messages_total counter
rljob_rollout_link_messages_total{link="experience",direction="sent"} 20
# TYPE rljob_rollout_link_bytes_total counter
rljob_rollout_link_bytes_total{link="experience",direction="sent"} 40000
rljob_rollout_segments_retransmitted_total 3
rljob_rollout_credit_available_bytes 2500000
"""
    )
    before = dict.fromkeys(links, 0.0)
    process = RoleProbe("rollout", "rollout-0", None, Samples(before, links, 2.0))
    whole = shown(
        situation(
            roles=[role("learner"), role("buffer"), role("rollout", 0, "CrashLoopBackOff", "oh")],
            processes=[process, BUSY, spent("rollout", acting=1.0), spent("rollout", acting=9.0)],
            lag=(1, 3, 4),
            fill=0.5,
            checkpoint=CheckpointStatus(
                step=100, policy_version=1, time="", path="p", sha256="", verified=True
            ),
            checkpoint_age=61.0,
            last_failure=Failure(
                role="rollout",
                pod="x-rollout-a",
                reason="Error",
                exit_code=1,
                message="oh",
                time="t",
            ),
        )
    )
    lines = [" ".join(each.split()) for each in whole.splitlines()]

    def line(start: str) -> str:
        (found,) = [each for each in lines if each.startswith(start)]
        return found

    assert line("rollout-0") == "rollout-0 experience 10/s 20 kB/s credit 2 MB · sent again 3"
    assert line("learner 1/1") == (
        "learner 1/1 ready 0 restarts step 81,920 · mean return 123.4 · checkpoint of step 100, 1m 01s "
        "ago"
    )
    assert line("buffer") == (
        "buffer 1/1 ready 0 restarts filled 50 % · lag 1, at most 3 for 95 % (bound 4)"
    )
    assert line("rollout 0/1") == "rollout 0/1 ready 0 restarts CrashLoopBackOff: oh"
    assert line("Last failure") == "Last failure: x-rollout-a, Error, exit code 1, t"
    assert line("learner updating") == f"learner updating the policy 90 % {'█' * 18}"
    # Where processes differ, their range is told.
    assert "10 % to 90 %" in line("rollout choosing")


def test_what_is_over_has_roles_that_end() -> None:
    lines = shown(
        situation(phase="Complete", roles=[RoleCount("rollout", 0, 2), RoleCount("buffer", 0, 0)])
    )

    assert "rollout   2 ending" in lines
    assert "buffer    ended" in lines


def test_what_is_slow_is_no_stall_before_its_time() -> None:
    at_work = RoleProbe("rollout", "r", RoleState(role="rollout", name="r", doing="segment"))
    learner = RoleProbe("learner", "l", RoleState(role="learner", name="l", doing="data"))
    hung = RoleProbe("rollout", "r", RoleState(role="rollout", name="r", silent_seconds=30.0))

    assert stall_of([at_work, learner], 30.0, 10.0, 180.0) is None
    slow = stall_of([at_work, learner], 200.0, 10.0, 180.0)
    assert slow is not None
    assert slow.reason == "RolloutStarved"
    stuck = stall_of([hung, learner], 30.0, 10.0, 180.0)
    assert stuck is not None
    assert stuck.reason == "EnvironmentHung"
    assert stall_of([hung, learner], 5.0, 10.0, 180.0) is None


def test_the_stack_is_told_innermost_first() -> None:
    lines = shown(situation(stall=HUNG))

    assert lines.index("e.py:7 step") < lines.index("l.py:1 run")


def test_rates_need_two_looks() -> None:
    assert Samples({}, parse("a_total 5\n"), 2.0).rate("a_total") is None
    assert Samples(parse("a_total 1\n"), parse("a_total 5\n"), 2.0).rate("a_total") == 2.0
    # A process that was started again counts from zero.
    assert Samples(parse("a_total 9\n"), parse("a_total 5\n"), 2.0).rate("a_total") == 0.0
