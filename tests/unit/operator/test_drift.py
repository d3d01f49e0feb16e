"""What counts as drift, and what is applied and deleted for it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from rljob.kube import names
from rljob_operator.decide.drift import covers
from tests.unit.operator.cluster import NAME, Cluster, quiet

ROLLOUT, BUFFER, LEARNER = (
    ("Deployment", f"{NAME}-rollout"),
    ("StatefulSet", f"{NAME}-buffer"),
    ("Job", f"{NAME}-learner"),
)


@pytest.mark.parametrize(
    ("there", "ours", "covered"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({}, {"a": 1}, False),
        ({"a": None}, {"a": 1}, False),
        # What is empty may be left out, what says no may not.
        ({}, {"a": {}, "b": [], "c": None}, True),
        ({}, {"a": False}, False),
        ({}, {"a": 0}, False),
        ({"a": {"b": 1}}, {"a": {}}, True),
        ({"a": "text"}, {"a": {}}, False),
        # Lists of named things hold others' too, in any order.
        ([{"name": "x", "v": 1, "w": 2}, {"name": "y"}], [{"name": "x", "v": 1}], True),
        ([{"name": "y"}, {"name": "x"}], [{"name": "x"}, {"name": "y"}], True),
        ([{"name": "y"}], [{"name": "x"}], False),
        ([{"name": "x", "v": 2}], [{"name": "x", "v": 1}], False),
        # One volume, mounted twice.
        (
            [{"name": "x", "path": "/a"}, {"name": "x", "path": "/b"}],
            [{"name": "x", "path": "/b"}, {"name": "x", "path": "/a"}],
            True,
        ),
        # Lists of words are one value.
        (["a", "b"], ["a", "b"], True),
        (["a", "b"], ["b", "a"], False),
        (["a", "b", "c"], ["a", "b"], False),
        (None, [{"name": "x"}], False),
        # Amounts have many spellings, other texts have one.
        ({"requests": {"cpu": "1"}}, {"requests": {"cpu": "1000m"}}, True),
        ({"requests": {"cpu": "500m"}}, {"requests": {"cpu": "0.5"}}, True),
        ({"limits": {"memory": "1Gi"}}, {"limits": {"memory": "1024Mi"}}, True),
        ({"limits": {"memory": "1Gi"}}, {"limits": {"memory": "1G"}}, False),
        ({"requests": {"cpu": "1"}}, {"requests": {"cpu": "2"}}, False),
        ({"requests": {"cpu": "1"}}, {"requests": {"cpu": "many"}}, False),
        ({"labels": {"cpu": "1"}}, {"labels": {"cpu": "1000m"}}, False),
    ],
)
def test_covers(there: Any, ours: Any, covered: bool) -> None:
    assert covers(there, ours) is covered


def test_first_look_makes_everything_in_order() -> None:
    cluster = Cluster(evaluation={})
    decision = cluster.decide()
    assert decision.mint_keys
    assert not decision.delete
    kinds = [manifest["kind"] for manifest in decision.apply]
    assert kinds[-4:] == ["StatefulSet", "Job", "Deployment", "Deployment"]
    assert {"ConfigMap", "PersistentVolumeClaim", "Service", "NetworkPolicy"} <= set(kinds[:-4])


def test_quiet_job_costs_nothing() -> None:
    cluster = Cluster().trained()
    assert quiet(cluster.decide())


def test_another_operator_has_nothing_to_apply_to_a_job_as_it_should_be() -> None:
    """Amounts spelled by the API server, fields that it and others added: none of it is drift."""
    requests = {"requests": {"cpu": "0.5", "memory": "1000m"}}
    container = {"name": "rollout", "resources": requests}
    cluster = Cluster(rollout={"template": {"spec": {"containers": [container]}}}).trained()
    cluster.restart_operator()
    assert not cluster.decide().apply


@pytest.mark.parametrize("kind", ["ConfigMap", "Service", "Deployment", "StatefulSet"])
def test_deleted_child_is_made_again(kind: str) -> None:
    cluster = Cluster().trained()
    key = next(key for key in cluster.objects if key[0] == kind)
    cluster.remove(*key)
    assert [(m["kind"], m["metadata"]["name"]) for m in cluster.decide().apply] == [key]
    cluster.settle()
    assert key in cluster.objects


def _replicas(child: dict[str, Any]) -> None:
    child["spec"]["replicas"] = 9
    child["metadata"]["generation"] += 1


def _image(child: dict[str, Any]) -> None:
    child["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
    child["metadata"]["generation"] += 1


def _label(child: dict[str, Any]) -> None:
    del child["metadata"]["labels"][names.ROLE_LABEL]


def _orphan(child: dict[str, Any]) -> None:
    del child["metadata"]["ownerReferences"]


def _hash(child: dict[str, Any]) -> None:
    child["metadata"]["annotations"][names.HASH_ANNOTATION] = "of another version"


@pytest.mark.parametrize("edit", [_replicas, _image, _label, _orphan, _hash])
def test_edited_child_is_put_right(edit: Any) -> None:
    cluster = Cluster().trained()
    edit(cluster.objects[ROLLOUT])
    assert [m["kind"] for m in cluster.decide().apply] == ["Deployment"]


def test_edited_data_is_put_right_though_it_has_no_generation() -> None:
    cluster = Cluster().trained()
    config = cluster.objects["ConfigMap", f"{NAME}-job"]
    cluster.operator.settled["ConfigMap", f"{NAME}-job"] = (
        config["metadata"]["annotations"][names.HASH_ANNOTATION],
        config["metadata"]["generation"],
    )
    config["data"]["job.yaml"] = "nonsense"
    assert [m["kind"] for m in cluster.decide().apply] == ["ConfigMap"]


def test_what_the_api_server_keeps_in_its_own_way_is_settled() -> None:
    """It was applied, and is otherwise: that is no drift until the spec changes again."""
    cluster = Cluster().trained()
    child = cluster.objects[ROLLOUT]
    child["spec"]["template"]["spec"]["containers"][0]["command"] = ["as", "it", "likes"]
    assert not cluster.decide().apply
    child["metadata"]["generation"] += 1
    assert cluster.decide().apply


def test_what_others_add_stays() -> None:
    cluster = Cluster().trained()
    child = cluster.objects[ROLLOUT]
    child["metadata"]["labels"]["team"] = "blue"
    child["metadata"]["annotations"]["note"] = "mine"
    sidecar = {"name": "proxy", "image": "mesh"}
    child["spec"]["template"]["spec"]["containers"].append(sidecar)
    child["metadata"]["generation"] += 1
    assert not cluster.decide().apply


def test_scaling_touches_nothing_but_the_number() -> None:
    cluster = Cluster().trained()
    before = copy.deepcopy(cluster.objects)
    cluster.edit(rollout={"replicas": 4})
    cluster.settle()
    changed = [
        key
        for key, child in before.items()
        if {**cluster.objects[key], "status": {}} != {**child, "status": {}}
    ]
    assert changed == [ROLLOUT]
    assert len(cluster.named("rollout")) == 4
    assert cluster.status["restarts"] == 0
    assert not cluster.deleted


def test_what_is_wanted_no_more_goes() -> None:
    cluster = Cluster(evaluation={}, code={"mine.py": "x = 1"}).trained()
    cluster.edit(evaluation=None, code=None)
    decision = cluster.decide()
    gone = {(reference.kind, reference.name) for reference in decision.delete}
    assert {("Deployment", f"{NAME}-evaluator"), ("ConfigMap", f"{NAME}-code")} <= gone
    cluster.settle()
    assert not [key for key in cluster.objects if key[1] in (f"{NAME}-evaluator", f"{NAME}-code")]


def test_what_only_has_our_label_is_not_ours_to_delete() -> None:
    cluster = Cluster().trained()
    labels = cluster.objects[ROLLOUT]["metadata"]["labels"]
    cluster.objects["ConfigMap", "mine"] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "mine", "uid": "mine", "labels": labels},
    }
    assert quiet(cluster.decide())


def test_claims_stay_when_they_are_wanted_no_more() -> None:
    claim = ("PersistentVolumeClaim", f"{NAME}-checkpoints")
    cluster = Cluster().trained()
    assert claim in cluster.objects
    cluster.edit(checkpoint={"storage": {"persistentVolumeClaim": {"claimName": "mine"}}})
    cluster.settle()
    assert claim in cluster.objects


def test_retained_claim_of_an_earlier_job_is_used_again() -> None:
    retained = {"storage": {"volumeClaimTemplate": {"size": "1Gi", "whenDeleted": "Retain"}}}
    cluster = Cluster(checkpoint=retained).trained()
    assert (
        "ownerReferences"
        not in (cluster.objects["PersistentVolumeClaim", f"{NAME}-checkpoints"]["metadata"])
    )
    assert quiet(cluster.decide())


def test_changed_learner_gets_a_new_job_once_its_pod_is_over() -> None:
    cluster = Cluster().trained()
    old = cluster.objects[LEARNER]["metadata"]["uid"]
    (pod,) = cluster.named("learner")
    cluster.edit(learner={"template": {"metadata": {"labels": {"team": "blue"}}}})
    (reference,) = cluster.decide().delete
    assert (reference.kind, reference.uid, reference.propagation) == ("Job", old, "Background")
    assert reference.replacement is not None
    cluster.look()
    # Deleted, and its pod still writes its checkpoint: no other learner may start yet.
    assert LEARNER not in cluster.objects
    assert LEARNER not in [(m["kind"], m["metadata"]["name"]) for m in cluster.decide().apply]
    cluster.run()
    assert pod not in cluster.pods
    cluster.look()
    assert cluster.objects[LEARNER]["metadata"]["uid"] != old
    cluster.settle()
    assert cluster.status["learner"]["failures"] == 0
    assert cluster.role("learner")["restarts"] == 0
    assert "Updated" in cluster.told()


def test_changed_limit_is_no_reason_for_a_new_job() -> None:
    cluster = Cluster().trained()
    uid = cluster.objects[LEARNER]["metadata"]["uid"]
    cluster.edit(backoffLimit=7)
    cluster.settle()
    assert cluster.objects[LEARNER]["metadata"]["uid"] == uid
    assert cluster.objects[LEARNER]["spec"]["backoffLimit"] == 7


def test_changed_learner_that_would_be_refused_stops_nothing() -> None:
    cluster = Cluster().trained()
    uid = cluster.objects[LEARNER]["metadata"]["uid"]
    cluster.refuse = lambda m: "Job is invalid: no such thing" if m["kind"] == "Job" else None
    cluster.edit(learner={"template": {"metadata": {"labels": {"team": "blue"}}}})
    cluster.look()
    cluster.look()
    assert cluster.objects[LEARNER]["metadata"]["uid"] == uid
    assert cluster.named("learner")
    assert cluster.condition("Degraded")["reason"] == "InvalidTemplate"
    assert cluster.status["phase"] == "Training"


def test_learner_of_an_earlier_job_of_that_name_is_waited_for() -> None:
    """Deleted and made again at once: two learners must not meet at one claim."""
    earlier = Cluster().trained()
    (name,) = earlier.named("learner")
    cluster = Cluster()
    cluster.tick(100)
    cluster.job["metadata"].update(uid="job-2", creationTimestamp=cluster.stamp())
    earlier.delete_pod(name)
    cluster.pods = {name: earlier.pods[name]}
    kinds = [manifest["kind"] for manifest in cluster.decide().apply]
    assert "Deployment" in kinds
    assert "Job" not in kinds
    cluster.run()
    assert "Job" in [manifest["kind"] for manifest in cluster.decide().apply]


def test_children_of_another_owner_and_those_on_their_way_out_are_waited_for() -> None:
    cluster = Cluster().trained()
    cluster.objects[BUFFER]["metadata"]["ownerReferences"][0]["uid"] = "somebody"
    cluster.objects[ROLLOUT]["metadata"]["deletionTimestamp"] = cluster.stamp()
    _replicas(cluster.objects[ROLLOUT])
    decision = cluster.decide()
    assert not decision.apply
    assert not decision.delete


def test_job_that_is_being_deleted_is_left_alone() -> None:
    cluster = Cluster().trained()
    cluster.job["metadata"]["deletionTimestamp"] = cluster.stamp()
    cluster.remove(*ROLLOUT)
    assert quiet(cluster.decide())
