"""Handles of jobs on a cluster, on a real API server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rljob import InputError, JobFailed, RunError, spec, submit
from rljob import attach as attach_to
from rljob.client.jobs import Jobs
from rljob.client.sent_code import fetch
from rljob.handles.cluster import ClusterHandle
from rljob.spec.code import CodeArchiveSpec
from tests.controlplane.client import COMPLETE, FAILED, FILE, Client
from tests.controlplane.node import MERGE, Node
from tests.controlplane.test_client_report import learner, serving
from tests.unit.clusterjobs import TRAINING
from tests.unit.specs import Job

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


def test_a_folder_of_code_goes_with_the_job(rljob: Client, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    (folder / "pkg").mkdir(parents=True)
    (folder / "pkg/noise.bin").write_bytes(os.urandom(2_000_000))
    (folder / "env.py").write_text("STEPS = 5")
    file = tmp_path / "job.yaml"
    file.write_text(FILE)
    assert rljob("submit", str(file), "--code", str(folder))[::2] == (0, "")
    found = rljob.get()
    assert found is not None
    known = CodeArchiveSpec.model_validate(found["spec"]["codeArchive"])
    maps = config_maps(rljob)
    assert [one["metadata"]["name"] for one in maps] == [
        f"test-code-{known.sha256[:10]}-{n}" for n in range(3)
    ]
    for one in maps:
        assert one["immutable"] is True
        assert one["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]
    job = attach(rljob, "test")
    fetch(job.jobs, spec.parse(found), tmp_path / "fetched")
    assert (tmp_path / "fetched/env.py").read_text() == "STEPS = 5"
    assert (tmp_path / "fetched/pkg/noise.bin").stat().st_size == 2_000_000
    # The same folder again is the same job, which is there already.
    code, _, err = rljob("submit", str(file), "--code", str(folder))
    assert (code, "RLJob test already exists" in err) == (1, True)
    assert len(config_maps(rljob)) == 3


def test_a_job_whose_code_is_not_taken_is_not_left(rljob: Client, tmp_path: Path) -> None:
    file, folder = tmp_path / "job.yaml", tmp_path / "code"
    file.write_text(FILE)
    folder.mkdir()
    (folder / "env.py").touch()
    server, path = rljob.server, f"/api/v1/namespaces/{rljob.namespace}"
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/configmaps": "0"}}}
    assert server.call("POST", f"{path}/resourcequotas", quota).status == 201
    status = {"status": {"hard": {"count/configmaps": "0"}, "used": {"count/configmaps": "0"}}}
    answer = server.call("PATCH", f"{path}/resourcequotas/none/status", status, MERGE)
    assert answer.status == 200, answer.body
    code, _, err = rljob("submit", str(file), "--code", str(folder))
    assert (code, "exceeded quota" in err) == (1, True)
    assert rljob.get() is None


def test_a_client_that_is_killed_leaves_no_pod_that_waits(
    rljob: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, folder = tmp_path / "job.yaml", tmp_path / "code"
    file.write_text(FILE)
    folder.mkdir()
    (folder / "env.py").write_text("STEPS = 5")

    def submitted() -> ClusterHandle:
        return submit(file, code=folder, namespace=rljob.namespace, kubeconfig=rljob.kubeconfig)

    with monkeypatch.context() as killed:
        killed.setattr(Jobs, "release", lambda *_: (_ for _ in ()).throw(SystemExit))
        killed.setattr(Jobs, "delete", lambda *_: None)
        with pytest.raises(SystemExit):
            submitted()
    job = attach(rljob, "test")
    found = rljob.get()
    assert found is not None
    assert found["spec"]["suspend"] is True
    with pytest.raises(
        RunError, match="code of test was not sent as a whole; delete it and submit"
    ):
        job.resume()
    with pytest.raises(RunError, match=r"already exists .*\(its code was not sent as a whole\)"):
        submitted()
    # The ConfigMap of a deleted job of this name is replaced: Kubernetes may delete it at any moment.
    (before,) = config_maps(rljob)
    job.delete()
    again = submitted()
    (after,) = config_maps(rljob)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    found = rljob.get()
    assert found is not None
    assert after["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]
    assert not found["spec"].get("suspend")
    assert "rljob.dev/held" not in found["metadata"].get("annotations", {})
    assert again.status.phase == "Pending"


def config_maps(client: Client) -> list[Job]:
    found = client.server.call("GET", f"/api/v1/namespaces/{client.namespace}/configmaps").body
    items = [one for one in found["items"] if "-code-" in one["metadata"]["name"]]
    return sorted(items, key=lambda one: str(one["metadata"]["name"]))


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
