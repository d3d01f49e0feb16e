"""Handles of jobs on a cluster, on a real API server."""

from __future__ import annotations

from pathlib import Path

import pytest

from rljob import InputError, JobFailed, RunError, submit
from rljob import attach as attach_to
from rljob.handles.cluster import ClusterHandle
from tests.controlplane.client import COMPLETE, FAILED, FILE, Client
from tests.controlplane.node import Node
from tests.controlplane.test_client_report import learner, serving
from tests.unit.clusterjobs import TRAINING

__all__ = ["learner"]


@pytest.fixture
def job(rljob: Client, tmp_path: Path) -> ClusterHandle:
    file = tmp_path / "job.yaml"
    file.write_text(FILE)
    return _submit(rljob, file)


def _submit(client: Client, file: Path) -> ClusterHandle:
    return submit(
        file,
        overrides=["rollout.replicas=2"],
        namespace=client.namespace,
        kubeconfig=client.kubeconfig,
    )


def attach(client: Client, name: str) -> ClusterHandle:
    found = attach_to(name, namespace=client.namespace, kubeconfig=client.kubeconfig)
    assert isinstance(found, ClusterHandle)
    return found


def test_a_job_has_its_status_until_it_is_deleted(rljob: Client, job: ClusterHandle) -> None:
    assert (job.name, job.namespace, job.status.phase) == ("test", rljob.namespace, "Pending")
    rljob.status(TRAINING)
    status = job.status
    assert (status.phase, status.steps, status.mean_return) == ("Training", 81_920, 384.25)
    assert (status.rollouts, status.rollouts_ready, status.ended) == (2, 1, False)
    assert repr(job) == (
        f"<{rljob.namespace}/test: Training, step 81,920, return 384.2, 61,200 steps/s>"
    )
    job.scale(4)
    assert job.status.rollouts == 4
    job.stop()
    found = rljob.get()
    assert found is not None
    assert found["spec"]["suspend"] is True
    job.resume()
    with pytest.raises(TimeoutError, match=r"test has not ended within 0\.01 s: Training"):
        job.wait(0.01)
    job.delete()
    for call in (lambda: job.status, job.wait, job.delete):
        with pytest.raises(RunError, match="RLJob test was deleted"):
            call()


def test_waiting_ends_with_the_job(rljob: Client, job: ClusterHandle) -> None:
    rljob.status({**TRAINING, "phase": "Complete", "conditions": COMPLETE})
    assert (job.wait().phase, job.wait().reason) == ("Complete", "MeanReturnReached")
    with pytest.raises(RunError, match=r"test has ended \(Complete\); it cannot be scaled"):
        job.scale(3)


def test_waiting_for_a_job_that_fails_raises(rljob: Client, job: ClusterHandle) -> None:
    rljob.status({**TRAINING, "phase": "Failed", "conditions": FAILED})
    with pytest.raises(JobFailed, match="test failed: BackoffLimitExceeded: it failed 4 times"):
        job.wait()


def test_a_later_job_of_the_same_name_is_another(rljob: Client, job: ClusterHandle) -> None:
    job.delete()
    rljob.create()
    with pytest.raises(RunError, match="RLJob test was deleted"):
        job.delete()
    assert attach(rljob, "test").status.phase == "Pending"


def test_a_name_of_no_job_is_told(rljob: Client, job: ClusterHandle) -> None:
    where = f"there is no RLJob tset in namespace {rljob.namespace}"
    with pytest.raises(RunError, match=f"^{where}. Did you mean test\\?$"):
        attach(rljob, "tset")


def test_logs_and_result_come_from_the_pods(rljob: Client, machine: Node, learner: Path) -> None:
    machine.pod("test-learner-a", "learner")
    machine.pod("test-rollout-a", "rollout")
    machine.logs = {
        "test-learner-a": lambda _: iter([b"one\ntwo\n"]),
        "test-rollout-a": lambda _: iter([b"three\n"]),
    }
    job = attach(rljob, "test")
    assert job.logs("learner") == "one\ntwo"
    assert job.logs() == "==> rollout <==\nthree\n==> learner <==\none\ntwo"
    with serving(learner) as port:
        machine.ports = {"test-learner-a": port}
        assert job.history()["mean_return"].tolist() == [12.5]
        with pytest.raises(InputError, match=r"test has not ended \(Pending\)"):
            job.result()
        rljob.status({**TRAINING, "phase": "Complete", "conditions": COMPLETE})
        result = job.result()
    assert (result.outcome, result.reason, result.steps) == (
        "Complete",
        "MeanReturnReached",
        81_920,
    )
    folder = result.folder
    assert result.history()["steps"].tolist() == [64]
    del result
    assert not folder.exists()
