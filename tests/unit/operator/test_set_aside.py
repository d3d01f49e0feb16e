"""Batches that the buffer set aside, in the status."""

from __future__ import annotations

from rljob.diagnosis.set_aside import TOLD_SECONDS
from rljob.spec.status import BufferStatus
from rljob_operator.decide import times
from tests.unit.operator.cluster import Cluster

FOLDER = "/var/lib/rljob/set-aside in pod x-buffer-0"


def test_a_batch_that_was_set_aside_degrades_a_job_that_goes_on_for_an_hour() -> None:
    cluster = Cluster().trained()
    cluster.look()
    assert cluster.condition("Degraded")["status"] == "False"
    time = times.rfc3339(cluster.now)
    cluster.buffer = BufferStatus(set_aside=2, set_aside_time=time)
    cluster.look()
    cluster.look()
    found = cluster.condition("Degraded")
    assert (found["status"], found["reason"]) == ("True", "BatchSetAside")
    assert found["message"].startswith("buffer: 2 batches were set aside, because the learner died")
    assert FOLDER in found["message"]
    assert "numpy.load" in found["message"]
    assert cluster.condition("Ready")["status"] == "True"
    assert cluster.condition("Progressing")["status"] == "True"
    assert cluster.role("buffer")["reason"] == "BatchSetAside"
    assert [each.reason for each in cluster.notices].count("BatchSetAside") == 1

    cluster.tick(TOLD_SECONDS - 1)
    assert (cluster.look().requeue_after or 0) <= 1
    assert cluster.condition("Degraded")["status"] == "True"
    cluster.tick(1)
    cluster.look()
    assert cluster.condition("Degraded")["status"] == "False"
    assert "reason" not in cluster.role("buffer")


def test_an_earlier_problem_of_the_buffer_comes_first() -> None:
    cluster = Cluster().trained()
    for _ in range(2):
        cluster.tick(15)
        cluster.crash(cluster.named("buffer")[0], "", 137, "OOMKilled")
        cluster.buffer = BufferStatus(set_aside=1, set_aside_time=times.rfc3339(cluster.now))
        cluster.look()
    assert cluster.condition("Degraded")["reason"] == "OOMKilled"
