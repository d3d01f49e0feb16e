"""Hooks that raised, and evaluations during training, in the status of a job."""

from __future__ import annotations

from rljob.diagnosis.hook_failures import TOLD_SECONDS
from rljob.spec.status import HookStatus
from rljob_operator.decide import times
from tests.unit.operator.cluster import Cluster


def test_hooks_that_raise_degrade_a_job_that_goes_on_for_an_hour() -> None:
    cluster = Cluster().trained()
    cluster.look()
    assert cluster.condition("Degraded")["status"] == "False"
    time = times.rfc3339(cluster.now)
    cluster.hooks = HookStatus(failures=2, message="a:B.on_update: ValueError: x", time=time)
    cluster.look()
    cluster.look()
    found = cluster.condition("Degraded")
    assert (found["status"], found["reason"]) == ("True", "HookFailed")
    assert "learner: hooks failed 2 times, and training goes on; the first: a:B" in found["message"]
    assert cluster.condition("Progressing")["status"] == "True"
    assert cluster.role("learner")["reason"] == "HookFailed"
    assert cluster.status["hooks"]["failures"] == 2
    assert [each.reason for each in cluster.notices].count("HookFailed") == 1
    cluster.tick(TOLD_SECONDS)
    cluster.look()
    assert cluster.condition("Degraded")["status"] == "False"


def test_an_evaluation_during_training_is_told_without_a_write_of_its_own() -> None:
    cluster = Cluster().trained()
    cluster.look()
    writes = cluster.status_writes
    cluster.played = 1.5
    cluster.look()
    assert cluster.status_writes == writes
    cluster.tick(60)
    cluster.look()
    assert cluster.status["evaluation"]["mean"] == 1.5
    assert cluster.status_writes == writes + 1
    # A new learner knows of none.
    cluster.played = None
    cluster.tick(60)
    cluster.look()
    assert cluster.status["evaluation"]["mean"] == 1.5
