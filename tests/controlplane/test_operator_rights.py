"""What the operator may do is what it does: the manifests' rules against the API server's audit log."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rljob.kube.kinds import LEASE, POD
from tests.apiserver import ApiServer, Call
from tests.controlplane.operators import NAMESPACE, ROOT, USER, install, running, until
from tests.controlplane.rljobs import ROLLOUT, Job, answering, hang

Right = tuple[str, str, str]
"""API group, resource with its subresource, verb."""
END = {"outcome": "Complete", "reason": "StopSteps", "message": "done"}


def granted() -> set[Right]:
    """What the manifests allow the ServiceAccount."""
    rights = set()
    for file in sorted((ROOT / "operator" / "manifests").glob("*.yaml")):
        for found in yaml.safe_load_all(file.read_text()):
            if found["kind"] in ("Role", "ClusterRole") and found["metadata"]["name"] == (
                "rljob-operator"
            ):
                rights |= {
                    (group, resource, verb)
                    for rule in found["rules"]
                    for group in rule["apiGroups"]
                    for resource in rule["resources"]
                    for verb in rule["verbs"]
                }
    return rights


def used(calls: list[Call]) -> set[Right]:
    """What these calls needed. An apply that makes an object needs two rights."""
    rights = set()
    for call in calls:
        if not call.resource:
            continue
        resource = "/".join(part for part in (call.resource, call.subresource) if part)
        rights.add((call.group, resource, call.verb))
        if call.verb == "patch" and call.status == 201:
            rights.add((call.group, resource, "create"))
    return rights


def test_nothing_is_granted_in_bulk() -> None:
    rights = granted()
    assert rights
    assert not [right for right in rights if "*" in right]
    assert {verb for _, resource, verb in rights if resource == "secrets"} == {"create"}


def test_every_right_is_used_and_none_is_missing(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """A whole life of a job, with all that the operator ever does to one."""
    kubeconfig = install(apiserver)
    apiserver.call("DELETE", LEASE.path(NAMESPACE, "rljob-operator"))
    before = len(apiserver.calls())
    job = Job(apiserver, namespace)
    with running(kubeconfig, tmp_path / "log", "--audit-seconds=1") as operator:
        operator.until_ready()
        job.create(
            evaluation={"interval": "1s"},
            ttlSecondsAfterFinished=1,
            stall={"timeout": "1s", "policy": "Restart"},
        )
        until(job.complete, "all children")
        job.edit(evaluation=None)
        until(lambda: ("NetworkPolicy", "x-evaluator") not in job.children(), "no evaluator")
        job.edit(learner={"template": {"metadata": {"labels": {"team": "blue"}}}})
        until(job.complete, "the learner's Job is another one")
        with answering():
            hang(job)
            until(lambda: job.get(POD, "x-rollout-a") is None, "the pod that hangs is gone")
        job.server.call("DELETE", POD.path(namespace, "x-learner-abcde"))
        job.edit(suspend=True)
        until(lambda: ROLLOUT not in job.children(), "no workload")
        job.edit(suspend=False)
        until(job.complete, "all children again")
        until(job.events, "Events about the job")
        job.end_learner(END)
        until(lambda: job.get() is None, "the job is gone")
        assert operator.stop() == 0
    calls = [call for call in apiserver.calls()[before:] if call.user == USER]
    assert not [call for call in calls if call.status in (401, 403)]
    assert used(calls) == granted()


def test_its_pod_is_admitted_where_it_is_installed(apiserver: ApiServer) -> None:
    """Its namespace enforces the restricted Pod Security Standard."""
    install(apiserver)
    deployment = apiserver.call(
        "GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/rljob-operator"
    ).body
    template = deployment["spec"]["template"]
    pod = {"metadata": {**template["metadata"], "name": "try"}, "spec": template["spec"]}
    answer = apiserver.call("POST", f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All", pod)
    assert answer.status == 201, answer.body


def test_some_namespaces_only(apiserver: ApiServer, namespace: str, tmp_path: Path) -> None:
    """The same ClusterRole, bound in the namespaces that are served."""
    install(apiserver)
    kubeconfig = apiserver.user("of-one-namespace")
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "rljob-operator", "namespace": namespace},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "rljob-operator",
        },
        "subjects": [{"kind": "User", "name": "of-one-namespace"}],
    }
    inside, outside = Job(apiserver, namespace), Job(apiserver, apiserver.namespace())
    options = ("--lease=false", f"--namespaces={namespace}")
    with running(kubeconfig, tmp_path / "log", *options) as operator:
        # As long as it has no rights it says so, and goes on when it has.
        until(lambda: "cannot list" in operator.get("/readyz")[1], "it is not ready")
        assert operator.get("/healthz")[0] == 200
        done = apiserver.kubectl("apply", "-f", "-", stdin=json.dumps(binding))
        assert done.returncode == 0, done.stderr
        operator.until_ready()
        before = len(apiserver.calls())
        outside.create()
        inside.create()
        until(inside.complete, "all children")
        assert outside.children() == {}
        calls = [call for call in apiserver.calls()[before:] if call.user == "of-one-namespace"]
        assert not [call for call in calls if call.status == 403]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--port=x", "--port: 'x' is not allowed; 0 (any) to 65535"),
        ("--kubeconfig=/nowhere", "--kubeconfig: cannot connect to Kubernetes"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(option: str, message: str) -> None:
    command = [sys.executable, "-m", "rljob_operator", option]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
