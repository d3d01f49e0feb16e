"""Who is to blame when a job gets nowhere."""

from __future__ import annotations

import math

import pytest

from rljob.diagnosis.probes import RoleProbe
from rljob.diagnosis.stall import (
    START_SECONDS,
    ProgressWatch,
    StallLimits,
    diagnose,
    given_up,
    stalled_at,
)
from rljob.spec.roles import RoleName
from rljob.spec.stall import StallSpec
from rljob.telemetry.role_state import STARTING, RoleState

TIMEOUT = 60.0


def asked(role: RoleName, name: str = "", **state: object) -> RoleProbe:
    """A process at work, but for what is given."""
    name = name or f"{role}-0"
    return RoleProbe(role, name, RoleState.model_validate({"role": role, "name": name, **state}))


def silent(role: RoleName, name: str = "") -> RoleProbe:
    return asked(
        role, name, silent_seconds=59.0, stack=["rollout/loop.py:1 run", "my/env.py:7 step"]
    )


LEARNER, WAITING = asked("learner", doing="update"), asked("learner", doing="data")
BUFFER, ROLLOUT = asked("buffer"), asked("rollout", doing="segment")
BLOCKED = asked("rollout", "rollout-1", doing="credit")


@pytest.mark.parametrize(
    ("states", "reason", "words"),
    [
        ([silent("learner"), BUFFER, ROLLOUT], "LearnerStalled", "learner-0 has done nothing"),
        ([RoleProbe("learner", "l", None), BUFFER, ROLLOUT], "LearnerStalled", "l does not answer"),
        ([WAITING, RoleProbe("buffer", "b", None), ROLLOUT], "Disconnected", "b does not answer"),
        ([WAITING, BUFFER, silent("rollout")], "EnvironmentHung", "in my/env.py:7 step"),
        ([WAITING, BUFFER, asked("rollout", waits_for=STARTING)], "EnvironmentHung", "its start"),
        ([WAITING, BUFFER, silent("rollout"), BLOCKED], "BufferFull", "no more experience"),
        ([WAITING, BUFFER, silent("rollout"), ROLLOUT], "EnvironmentHung", "rollout-0 has done"),
        ([WAITING, BUFFER, asked("rollout", waits_for="the buffer")], "Disconnected", "the buffer"),
        ([asked("learner", waits_for="the buffer"), BUFFER, ROLLOUT], "Disconnected", "learner-0"),
        ([WAITING, BUFFER, BLOCKED], "BufferFull", "All rollouts wait"),
        ([WAITING, BUFFER, ROLLOUT], "RolloutStarved", "waits for experience"),
        ([WAITING, BUFFER], "RolloutStarved", "no rollout"),
        ([LEARNER, BUFFER, ROLLOUT], "LearnerStalled", "makes no progress"),
        (
            [RoleProbe("learner", "l", None), RoleProbe("buffer", "b", None)],
            "Disconnected",
            "No process",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_reason(states: list[RoleProbe], reason: str, words: str) -> None:
    stall = diagnose(states, TIMEOUT)

    assert stall.reason == reason
    assert words in stall.message


def test_only_what_hangs_may_be_replaced() -> None:
    assert diagnose(
        [WAITING, BUFFER, silent("rollout", "a"), silent("rollout", "b")], 60
    ).stuck == (
        "a",
        "b",
    )
    assert diagnose([WAITING, BUFFER, ROLLOUT], TIMEOUT).stuck == ()


def test_waiting_for_a_slow_turn_is_no_hanging() -> None:
    slow = asked("rollout", silent_seconds=20.0)

    assert diagnose([WAITING, BUFFER, slow], TIMEOUT).reason == "RolloutStarved"


def test_steps_or_updates_count_as_progress() -> None:
    watch = ProgressWatch(0.0).look(10, 0, 1.0)

    assert watch.look(10, 0, 5.0).since == 1.0
    assert watch.look(11, 0, 5.0).since == 5.0
    assert watch.look(10, 1, 5.0).since == 5.0


def test_a_process_may_take_its_time_to_start() -> None:
    assert stalled_at(10.0, [], 3.0) == 13.0
    assert stalled_at(10.0, [10.0], 3.0) == 10.0 + START_SECONDS
    assert stalled_at(10.0, [10.0], 300.0) == 310.0


def limits(begun: bool = False, **spec: str) -> StallLimits:
    return StallLimits.of(StallSpec.model_validate(spec), begun)


def test_only_a_job_that_never_made_a_step_is_given_up() -> None:
    assert limits() == StallLimits(180.0, 600.0)
    assert limits(startTimeout="30s") == StallLimits(30.0, 30.0)
    assert limits(timeout="30m") == StallLimits(1800.0, 1800.0)
    assert limits(begun=True, startTimeout="30s") == StallLimits(180.0, math.inf)
    assert limits(policy="Restart").give_up == math.inf


def test_it_is_looked_at_again_after_each_timeout() -> None:
    found = limits()
    assert (found.last_look(50.0, 649.0), found.next_look(50.0, 649.0)) == (-math.inf, 650.0)
    assert (found.last_look(50.0, 650.0), found.next_look(50.0, 650.0)) == (650.0, 830.0)
    assert found.last_look(50.0, 840.0) == 830.0
    assert limits(begun=True).next_look(50.0, 1e9) == math.inf


def test_a_job_is_given_up_only_if_no_environment_answers() -> None:
    hung = [WAITING, BUFFER, silent("rollout"), silent("rollout", "rollout-1")]
    stall = given_up(diagnose(hung, TIMEOUT), hung, limits())
    assert stall.ends
    assert stall.message.startswith("No environment has answered 600 s after the start")

    for last in (ROLLOUT, BLOCKED):
        asked = [WAITING, BUFFER, silent("rollout", "rollout-9"), last]
        assert not given_up(diagnose(asked, TIMEOUT), asked, limits()).ends
