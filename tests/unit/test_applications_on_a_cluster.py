"""A job that applications feed: the pods that it has, and when it counts as stalled."""

from __future__ import annotations

from typing import Any

import pytest

from rljob import spec
from rljob.diagnosis.probes import RoleProbe
from rljob.diagnosis.situation import stall_of
from rljob.diagnosis.stall import diagnose, waits_for_applications
from rljob.kube.kinds import Manifest
from rljob.kube.manifests import build
from rljob.kube.settings import OperatorSettings
from rljob.spec.roles import NEEDED, RoleName, needed
from rljob.telemetry.role_state import FIRST_APPLICATION, STARTING, RoleState
from tests.unit import specs

ALONE = spec.parse(specs.application_job()).spec
TIMEOUT = 180.0


def probe(role: RoleName, **fields: Any) -> RoleProbe:
    name = f"{role}-0"
    return RoleProbe(role, name, RoleState(role=role, name=name, **fields))


BUFFER = probe("buffer")
WAITING = probe("learner", doing="data")


def test_a_job_without_an_environment_needs_no_rollout() -> None:
    assert needed(None) == NEEDED
    assert needed(ALONE) == ("learner", "buffer")
    assert needed(spec.parse(specs.GOOD["applications-and-rollouts"]).spec) == NEEDED


@pytest.mark.parametrize(
    ("asked", "waits"),
    [
        ([BUFFER, WAITING], True),
        ([BUFFER, probe("learner", waits_for=FIRST_APPLICATION)], True),
        ([BUFFER, WAITING, RoleProbe("evaluator", "evaluator-0")], True),
        ([BUFFER, probe("learner", waits_for="the buffer", doing="data")], False),
        ([BUFFER, probe("learner", doing="data", silent_seconds=200.0)], False),
        ([probe("buffer", silent_seconds=200.0), WAITING], False),
        ([probe("buffer", waits_for=STARTING), WAITING], False),
        ([RoleProbe("buffer", "buffer-0"), WAITING], False),
        ([BUFFER, probe("learner", doing="update")], False),
        ([BUFFER], False),
        ([], False),
    ],
)
def test_applications_that_send_nothing_are_no_stall(asked: list[RoleProbe], waits: bool) -> None:
    assert waits_for_applications(asked, TIMEOUT) is waits
    if asked:
        assert (stall_of(asked, 200.0, 10.0, TIMEOUT, ALONE) is None) is waits


def test_a_learner_that_makes_no_progress_is_a_stall_with_applications_too() -> None:
    stall = diagnose([BUFFER, probe("learner", doing="update", stack=["a.py:1 f"])], TIMEOUT)
    assert (stall.reason, stall.name) == ("LearnerStalled", "learner-0")
    assert "working but makes no progress, in a.py:1 f" in stall.message
    stall = diagnose([BUFFER, probe("learner", waits_for="the buffer")], TIMEOUT)
    assert stall.reason == "Disconnected"


def children(job: specs.Job) -> list[Manifest]:
    made = build(spec.parse(job), None, OperatorSettings())
    return [*made.shared, *made.workloads.values()]


def one(made: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [each for each in made if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def test_applications_reach_buffer_and_learner_under_one_name() -> None:
    made = children(specs.application_job())
    service = one(made, "Service", "test-applications")["spec"]
    assert [(port["port"], port["targetPort"]) for port in service["ports"]] == [
        (5555, "experience"),
        (5557, "weights"),
    ]
    assert service["selector"] == {"rljob.dev/job-name": "test"}
    allowed = {"podSelector": {"matchLabels": {"rljob.dev/application-of": "test"}}}
    opened = {
        (policy["metadata"]["name"], rule["ports"][0]["port"])
        for policy in made
        if policy["kind"] == "NetworkPolicy"
        for rule in policy["spec"]["ingress"]
        if allowed in rule.get("from", [])
    }
    assert opened == {("test-buffer", 5555), ("test-learner", 5557)}


def test_servers_alone_get_the_keys_of_applications() -> None:
    made = children(specs.GOOD["applications-and-rollouts"])
    with_keys = set()
    for each in made:
        if "template" in each.get("spec", {}):
            volumes = each["spec"]["template"]["spec"]["volumes"]
            (keys,) = [volume for volume in volumes if volume["name"] == "rljob-keys"]
            source = {"configMap": {"name": "test-applications", "optional": True}}
            if source in keys["projected"]["sources"]:
                with_keys.add(each["metadata"]["name"])
    assert with_keys == {"test-buffer", "test-learner"}


def test_other_jobs_are_not_open() -> None:
    assert "application" not in str(children(specs.job()))
