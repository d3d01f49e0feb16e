"""`rljob explain` of what an API server knows; with pods it is tried on a cluster."""

from __future__ import annotations

import json

import pytest

from tests.controlplane.client import COMPLETE, Client
from tests.unit.clusterjobs import TRAINING, condition


def test_a_job_that_no_operator_has_seen(rljob: Client) -> None:
    rljob.create()
    code, out, _ = rljob("explain", "test")
    assert code == 1
    assert out.startswith("No operator has processed the newest change of test.")


def test_a_job_that_is_over(rljob: Client) -> None:
    rljob.create()
    rljob.status({"phase": "Complete", "observedGeneration": 1, "conditions": COMPLETE})
    code, out, _ = rljob("explain", "test")
    assert code == 0
    assert out.startswith("test is complete: MeanReturnReached")


def test_a_stall_that_the_operator_found_stands_without_its_pods(rljob: Client) -> None:
    rljob.create()
    hung = condition("Progressing", "False", "EnvironmentHung", "a has done nothing for 200 s.")
    rljob.status({**TRAINING, "conditions": [hung]})
    code, out, _ = rljob("explain", "test")
    assert code == 1
    assert out.startswith("test is not training: a has done nothing for 200 s.")
    assert "stall.policy: Restart" in out


def test_who_may_not_look_at_pods_learns_what_the_status_says(
    rljob: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    rljob.create()
    rljob.status(TRAINING)
    rules = [{"apiGroups": ["rljob.dev"], "resources": ["rljobs"], "verbs": ["get"]}]
    for made in (
        {"kind": "Role", "rules": rules},
        {
            "kind": "RoleBinding",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "look"},
            "subjects": [{"kind": "User", "name": "looker"}],
        },
    ):
        made |= {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "metadata": {"name": "look", "namespace": rljob.namespace},
        }
        done = rljob.server.kubectl("apply", "-f", "-", stdin=json.dumps(made))
        assert done.returncode == 0, done.stderr
    looker = Client(rljob.server, rljob.namespace, capsys, rljob.server.user("looker"))
    code, out, _ = looker("explain", "test")
    assert code == 1
    assert out.startswith("test trains at 61,200 steps/s, but not with all of the rollout")
    assert "Not probed: " in out
    assert "pods" in out
