"""The operator's key and the tokens of jobs, on a real API server with the operator's own rights."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from pathlib import Path

from rljob.kube import names
from rljob.kube.kinds import BY_NAME, POD
from tests.apiserver import ApiServer
from tests.controlplane.operators import NAMESPACE, install, running, until
from tests.controlplane.rljobs import ADDRESS, Job, answering, hang, running_at

SECRET = BY_NAME["Secret"]


def token_of(job: Job) -> str:
    secret = job.get(SECRET, names.keys_secret(job.name))
    assert secret is not None
    return base64.b64decode(secret["data"][names.STATE_TOKEN]).decode()


def test_the_first_operator_makes_the_key_and_the_next_one_reads_it(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    mounted, name = tmp_path / "state.key", f"state-{uuid.uuid4().hex[:8]}"
    options = (
        "--lease=false",
        f"--namespaces={namespace}",
        f"--state-key-file={mounted}",
        f"--state-key-secret={name}",
        "--poll-seconds=0.1",
    )
    job = Job(apiserver, namespace)
    kubeconfig = install(apiserver)
    with running(kubeconfig, tmp_path / "first", *options) as first:
        first.until_ready()
        created = job.create()
        until(job.complete, "all children")
    secret = apiserver.call("GET", SECRET.path(NAMESPACE, name)).body
    key = base64.b64decode(secret["data"]["state.key"])
    uid = created["metadata"]["uid"]
    assert token_of(job) == hmac.new(key, uid.encode(), hashlib.sha256).hexdigest()
    # What the kubelet does for the operator's pod.
    mounted.write_bytes(key)
    with answering() as role, running(kubeconfig, tmp_path / "next", *options) as following:
        role.token, role.steps = token_of(job), 64
        following.until_ready()
        job.learner_pod(running_at(ADDRESS))
        until(
            lambda: (job.status().get("progress") or {}).get("steps") == 64, "the learner's steps"
        )
    assert key.hex() not in following.text()


def test_an_operator_with_another_key_restarts_nothing(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    other = tmp_path / "other.key"
    other.write_bytes(b"another")
    job = Job(apiserver, namespace)
    options = ("--lease=false", f"--namespaces={namespace}", "--poll-seconds=0.1")
    kubeconfig = install(apiserver)
    with running(kubeconfig, tmp_path / "first", *options) as first:
        first.until_ready()
        job.create(stall={"timeout": "1s", "policy": "Restart"})
        until(job.complete, "all children")
    options = (*options, f"--state-key-file={other}")
    with answering() as role, running(kubeconfig, tmp_path / "next", *options) as following:
        role.token = token_of(job)
        following.until_ready()
        hang(job)
        until(lambda: following.metric("polls_total", result="refused") >= 1, "a refused poll")
        until(lambda: "a pod tells no state" in following.text(), "a refused question")
        before = following.metric("polls_total", result="refused")
        until(
            lambda: following.metric("polls_total", result="refused") >= before + 20, "more of them"
        )
        assert job.get(POD, "x-rollout-a") is not None
        assert (job.status().get("lastFailure") or {}).get("pod") is None
