"""Pods that die: who comes back, with what, and what it counts for."""

from __future__ import annotations

from tests.e2e.jobs import endless
from tests.e2e.kube import Job, KubectlError, Namespace, command, until

PVC = {"volumeClaimTemplate": {"size": "200Mi"}}


def kill(job: Job, role: str) -> None:
    """SIGKILL the role's process in its pod, from the node: nothing in the pod gets to know."""
    pod = job.pod(role)
    container = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    node = pod["spec"]["nodeName"]
    done = command(
        "docker", "exec", node, "ctr", "-n", "k8s.io", "task", "kill", "-s", "SIGKILL", container
    )
    assert done.returncode == 0, done.stderr


def replaced(job: Job, role: str, uid: str) -> None:
    def look() -> bool:
        return any(pod["metadata"]["uid"] != uid for pod in job.pods(role, alive=True))

    until(look, f"another pod of {role}")


def test_rollout_pod_deleted(namespace: Namespace) -> None:
    """It is replaced and counts for nothing."""
    namespace.apply(endless(rollout={"replicas": 2, "envsPerReplica": 4}))
    job = namespace.job("x")
    job.until_trains()
    learner = job.pod("learner")["metadata"]["uid"]
    victim = job.pod("rollout")["metadata"]
    namespace.run("delete", "pod", victim["name"], "--wait=false")
    replaced(job, "rollout", victim["uid"])
    job.until(lambda s: s["rollout"]["ready"] == "2/2", "both rollouts ready")
    status = job.until(lambda s: s["restarts"] >= 1, "the restart is told")
    assert status["learner"]["failures"] == 0
    job.until_trains(job.steps())
    assert job.pod("learner")["metadata"]["uid"] == learner


def test_buffer_pod_deleted(namespace: Namespace) -> None:
    """It comes back under its name with what it had, and training goes on."""
    dqn = {
        "name": "DQN",
        "config": {"minSize": 200, "batchSize": 32, "samplesPerInsert": 4},
    }
    namespace.apply(endless(algorithm=dqn, buffer={"capacity": 20_000, "storage": PVC}))
    job = namespace.job("x")
    job.until_trains(500)
    fill = job.until(lambda s: s["buffer"]["fill"] > 0.02, "some experience")["buffer"]["fill"]
    victim = job.pod("buffer")["metadata"]
    steps = job.steps()
    namespace.run("delete", "pod", victim["name"], "--wait=false")
    replaced(job, "buffer", victim["uid"])
    assert job.pod("buffer")["metadata"]["name"] == victim["name"]
    status = job.until(
        lambda s: s["progress"]["steps"] > steps + 500, "training goes on after the buffer's death"
    )
    assert status["buffer"]["fill"] >= fill
    assert status["learner"]["failures"] == 0


def test_learner_killed_goes_on_from_its_checkpoint(namespace: Namespace) -> None:
    """A learner that dies counts towards backoffLimit and resumes."""
    namespace.apply(endless())
    job = namespace.job("x")
    job.until(lambda s: s.get("lastCheckpoint", {}).get("verified"), "a checkpoint")
    saved = job.status()["lastCheckpoint"]["step"]
    victim = job.pod("learner")["metadata"]["uid"]
    kill(job, "learner")
    replaced(job, "learner", victim)
    status = job.until(lambda s: s["learner"]["failures"] == 1, "the failure is counted")
    assert status["lastFailure"]["role"] == "learner"
    assert status["lastFailure"]["exitCode"] == 137

    def resumed() -> bool:
        # Its steps are those of the one before until it has begun.
        try:
            log = namespace.run("logs", job.pod("learner")["metadata"]["name"])
        except KubectlError:
            return False  # Its container is not there yet.
        return "resuming from" in log

    until(resumed, "the new learner says that it goes on")
    job.until_trains(saved)


def test_learner_evicted_does_not_count(namespace: Namespace) -> None:
    """What the cluster takes away is no failure of the learner's."""
    namespace.apply(endless(backoffLimit=0))
    job = namespace.job("x")
    job.until_trains()
    steps = job.steps()
    victim = job.pod("learner")["metadata"]
    namespace.run("delete", "pod", victim["name"], "--wait=false")
    replaced(job, "learner", victim["uid"])
    job.until_trains(steps)
    status = job.until_phase("Training")
    assert status["learner"]["failures"] == 0


def test_failing_learner_fails_the_job(namespace: Namespace) -> None:
    """After backoffLimit the job has failed, and says with which words."""
    broken = (
        "import gymnasium\ndef make():\n    raise RuntimeError('the simulator is not licensed')\n"
    )
    namespace.apply(
        endless(
            environment={"entryPoint": "broken:make"},
            code={"broken.py": broken},
            backoffLimit=1,
            pendingDeadlineSeconds=90,
        )
    )
    job = namespace.job("x")
    job.wait("Failed")
    told = str(job.status())
    assert "the simulator is not licensed" in told


def test_bad_setting_fails_at_once(namespace: Namespace) -> None:
    """What the API server cannot know the learner says, and nothing is tried again."""
    wrong = endless(algorithm={"entryPoint": "nowhere:Algorithm"}, backoffLimit=3)
    namespace.apply(wrong)
    job = namespace.job("x")
    job.wait("Failed")
    assert "nowhere" in job.condition("Failed")["message"]
    assert job.status()["learner"]["failures"] <= 1
