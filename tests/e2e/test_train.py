"""`kubectl apply`, `kubectl wait`, and a policy at the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.jobs import endless, example
from tests.e2e.kube import Namespace, command, kubectl, owned, until


# Where the node is busy, a container may fail to start once, and count as a restart.
@pytest.mark.alone
def test_ppo_trains_to_complete(namespace: Namespace, tmp_path: Path) -> None:
    """The README's first job: solved, told in the status, and the policy plays."""
    namespace.apply(example("cartpole-ppo.yaml"))
    job = namespace.job("cartpole-ppo")
    job.wait("Complete")

    status = job.status()
    assert status["phase"] == "Complete"
    assert job.condition("Complete")["reason"] == "MeanReturnReached"
    assert status["progress"]["meanReturn"] >= 475
    assert status["learner"]["state"] == "Succeeded"
    assert status["restarts"] == 0
    assert status["startTime"] < status["completionTime"]
    assert status["lastCheckpoint"]["verified"] is True
    assert len(status["lastCheckpoint"]["sha256"]) == 64
    provenance = status["provenance"]
    assert provenance["seed"] == 0
    assert "@sha256:" in provenance["images"]["learner"] or provenance["images"]["learner"]
    assert provenance["rljobVersion"]
    generation = job.object()["metadata"]["generation"]
    assert status["observedGeneration"] == generation
    assert {c["observedGeneration"] for c in status["conditions"]} == {generation}
    assert "Complete" in job.reasons()

    # cleanPodPolicy Running: the learner's pod is kept for its log, the others go.
    until(lambda: not job.pods(alive=True), "only what has ended is left")
    assert owned(job, ["deployments", "statefulsets"]) == []

    policy = tmp_path / "policy"
    fetched = namespace.rljob("get-policy", "cartpole-ppo", "--out", str(policy), timeout=180)
    assert fetched.returncode == 0, fetched.stderr
    played = command("rljob", "eval", str(policy), "--episodes", "10")
    assert played.returncode == 0, played.stderr
    assert not [pod for pod in namespace.all("pods") if "get-policy" in pod["metadata"]["name"]]


def test_dqn_trains_with_replay(namespace: Namespace) -> None:
    """Off-policy, with the buffer's content on a volume."""
    job_object = example("cartpole-dqn.yaml")
    job_object["spec"]["stop"] = {"steps": 20_000}
    job_object["spec"]["buffer"]["storage"] = {"volumeClaimTemplate": {"size": "200Mi"}}
    namespace.apply(job_object)
    job = namespace.job("cartpole-dqn")
    job.wait("Complete")
    status = job.status()
    assert job.condition("Complete")["reason"] == "StepsReached"
    assert status["progress"]["steps"] >= 20_000
    assert status["progress"]["updates"] > 0


def test_a_job_that_ends_below_its_baseline_fails(namespace: Namespace) -> None:
    """The learner has the final policy played before it ends, and the status tells what that gave."""
    for name, baseline in (("above", 9.0), ("below", 501.0)):
        content = example("cartpole-ppo.yaml")
        content["metadata"]["name"] = name
        content["spec"]["stop"] = {"steps": 20_000}
        content["spec"]["evaluation"] = {"interval": "1h", "episodes": 5, "baseline": baseline}
        namespace.apply(content)
    above, below = namespace.job("above"), namespace.job("below")
    above.wait("Complete")
    below.wait("Failed")
    assert below.condition("Failed")["reason"] == "BelowBaseline"
    for job in (above, below):
        evaluation = job.status()["evaluation"]
        assert evaluation["episodes"] == 5
        assert 9 <= evaluation["mean"] <= 500
        assert evaluation["policyVersion"] == job.status()["policy"]["version"]


def test_two_jobs_side_by_side(namespace: Namespace) -> None:
    """One does not touch the other: deleting one leaves the other's pods alone."""
    namespace.apply(endless("one"), endless("two"))
    one, two = namespace.job("one"), namespace.job("two")
    one.until_trains()
    two.until_trains()
    before = {pod["metadata"]["uid"] for pod in two.pods()}
    namespace.run("delete", "rljob", "one")
    until(lambda: not one.pods(), "the pods of the deleted job are gone")
    two.until_trains(two.steps())
    assert {pod["metadata"]["uid"] for pod in two.pods()} == before


def test_status_in_the_table(namespace: Namespace) -> None:
    """`kubectl get rlj` says how it goes."""
    namespace.apply(endless())
    job = namespace.job("x")
    job.until(lambda s: s.get("progress", {}).get("meanReturn") is not None, "a mean return")
    job.wait("Ready")
    header, row = namespace.run("get", "rlj", "x").splitlines()
    assert header.split() == (
        [
            "NAME",
            "PHASE",
            "ROLLOUTS",
            "APPS",
            "LEARNER",
            "STEP",
            "RETURN",
            "STEPS/S",
            "LAG",
            "RESTARTS",
            "AGE",
        ]
    )
    cells = row.split()
    assert cells[:4] == ["x", "Training", "1/1", "Running"]
    assert int(cells[4]) > 0
    assert float(cells[5]) > 0
    described = json.loads(namespace.run("get", "rlj", "x", "-o", "json"))
    assert "annotations" not in described["metadata"] or not [
        key
        for key in described["metadata"]["annotations"]
        if not key.startswith("kubectl.kubernetes.io/")
    ]
    assert "finalizers" not in described["metadata"]
    assert "kopf" not in kubectl("get", "pods", "-n", namespace.name, "-o", "yaml")
