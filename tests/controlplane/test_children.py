"""What a real API server makes of an RLJob's children: nothing is refused, warned of, or changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rljob import spec
from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.kube.manifests import Children, Owner, build, keys_secret
from rljob.kube.settings import OperatorSettings
from rljob.spec import RLJob
from tests.apiserver import ApiServer
from tests.unit import specs

ROOT = Path(__file__).parents[2]
EXAMPLES = [
    file
    for file in sorted((ROOT / "examples").rglob("*.yaml"))
    if "kind: RLJob" in file.read_text()
]
GOLDEN = [ROOT / "tests" / "unit" / "golden" / f"{name}.yaml" for name in ("ppo", "dqn", "custom")]
RESTRICTED = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")
}


def every(made: Children) -> list[Manifest]:
    return [*made.shared, *made.workloads.values()]


def apply(server: ApiServer, manifests: list[Manifest], *flags: str) -> str:
    """Server-side apply of all of them; returns what kubectl had to say, warnings first."""
    done = server.kubectl(
        "apply",
        "--server-side",
        "--force-conflicts",
        f"--field-manager={names.FIELD_MANAGER}",
        *flags,
        "-f",
        "-",
        stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}),
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def stored(server: ApiServer, manifest: Manifest) -> Manifest:
    metadata = manifest["metadata"]
    done = server.kubectl(
        "get", manifest["kind"], metadata["name"], f"--namespace={metadata['namespace']}", "-ojson"
    )
    assert done.returncode == 0, done.stderr
    found: Manifest = json.loads(done.stdout)
    return found


def pods(made: Children) -> list[Manifest]:
    """A pod of each role, as its controller would make it."""
    found = []
    for child in every(made):
        if "template" in child.get("spec", {}):
            template = child["spec"]["template"]
            metadata = {
                **template["metadata"],
                "name": child["metadata"]["name"],
                "namespace": child["metadata"]["namespace"],
            }
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
            found.append({**pod, "spec": template["spec"]})
    return found


def differences(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """Where the API server keeps something else than we set; what it adds is its own business."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            text
            for key, value in ours.items()
            for text in differences(value, theirs.get(key), f"{path}.{key}")
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [text for at, pair in pairs for text in differences(*pair, f"{path}.{at}")]
    # A quantity may be given as a number; it is kept as text.
    return [] if str(ours) == str(theirs) else [f"{path}: {ours!r} became {theirs!r}"]


def content(manifest: Manifest) -> Manifest:
    """All but its version: a volume claim gets a new one although nothing changed."""
    metadata = {k: v for k, v in manifest["metadata"].items() if k != "resourceVersion"}
    return {**manifest, "metadata": metadata}


def owner(job: RLJob, namespace: str) -> Owner:
    return Owner(job.metadata.name, namespace, "00000000-0000-0000-0000-000000000001")


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: str(file.relative_to(ROOT)))
def test_examples_are_admitted_where_pods_are_restricted(apiserver: ApiServer, file: Path) -> None:
    namespace = apiserver.namespace(RESTRICTED)
    job = spec.load(file)
    made = build(job, owner(job, namespace), OperatorSettings())
    assert "Warning" not in apply(apiserver, every(made), "--dry-run=server")
    assert "Warning" not in apply(apiserver, pods(made), "--dry-run=server")


def test_pip_is_admitted_where_pods_are_restricted(apiserver: ApiServer) -> None:
    namespace = apiserver.namespace(RESTRICTED)
    job = spec.parse(specs.job(requirements=["a==1"], code={"a.py": ""}, evaluation={}))
    made = build(job, owner(job, namespace), OperatorSettings())
    assert any("initContainers" in pod["spec"] for pod in pods(made))
    apply(apiserver, pods(made), "--dry-run=server")


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_nothing_is_kept_otherwise_than_it_was_set(apiserver: ApiServer, file: Path) -> None:
    """Applied once more, nothing changes: a quiet job stays quiet."""
    job = spec.load(file)
    made = every(
        build(job, owner(job, apiserver.namespace()), OperatorSettings(restrict_egress=True))
    )
    apply(apiserver, made)
    first = [stored(apiserver, child) for child in made]
    for ours, theirs in zip(made, first, strict=True):
        assert differences(ours, theirs) == []
    apply(apiserver, made)
    for before, after in zip(first, made, strict=True):
        assert content(stored(apiserver, after)) == content(before)


def test_job_is_changed_in_place_while_its_spec_hash_stays(
    apiserver: ApiServer, namespace: str
) -> None:
    job = spec.parse(specs.job(backoffLimit=3))
    before = build(job, owner(job, namespace), OperatorSettings())
    apply(apiserver, every(before))
    change = {"backoffLimit": 5, "rollout": {"replicas": 7}, "pendingDeadlineSeconds": 9}
    job = spec.parse(specs.job(**change))
    after = build(job, owner(job, namespace), OperatorSettings(), failures=1, replicas=2)
    fixed = [
        made.workloads["learner"]["metadata"]["annotations"][names.SPEC_HASH_ANNOTATION]
        for made in (before, after)
    ]
    assert fixed[0] == fixed[1]
    apply(apiserver, every(after))
    assert stored(apiserver, after.workloads["learner"])["spec"]["backoffLimit"] == 4
    assert stored(apiserver, after.workloads["rollout"])["spec"]["replicas"] == 7


def test_claim_may_be_given_up_and_taken_back(apiserver: ApiServer, namespace: str) -> None:
    """`whenDeleted` may change: the claim loses its owner, and gets it again."""
    for policy, owners in (("Delete", 1), ("Retain", 0), ("Delete", 1)):
        storage = {"volumeClaimTemplate": {"whenDeleted": policy}}
        job = spec.parse(specs.job(checkpoint={"storage": storage}))
        made = build(job, owner(job, namespace), OperatorSettings())
        (claim,) = (c for c in made.shared if c["kind"] == "PersistentVolumeClaim")
        apply(apiserver, [claim])
        found = stored(apiserver, claim)["metadata"].get("ownerReferences", [])
        assert len(found) == owners


def test_keys_are_made_once(apiserver: ApiServer, namespace: str) -> None:
    job = spec.parse(specs.job())
    secret = keys_secret(job, owner(job, namespace), {"rollout.public": b"a"})
    path = f"/api/v1/namespaces/{namespace}/secrets"
    assert apiserver.call("POST", path, secret).status == 201
    assert apiserver.call("POST", path, secret).status == 409
