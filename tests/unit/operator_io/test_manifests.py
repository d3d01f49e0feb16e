"""The manifests fit the program that they start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rljob import __version__
from rljob.kube import names
from rljob.kube.settings import OperatorSettings
from rljob_operator.config import Config, parse

FOLDER = Path(__file__).parents[3] / "operator" / "manifests"


def manifests() -> list[dict[str, Any]]:
    """In the order in which `kubectl apply -f` takes them."""
    files = sorted(FOLDER.glob("*.yaml"))
    return [found for file in files for found in yaml.safe_load_all(file.read_text())]


def only(kind: str, name: str = "rljob-operator") -> dict[str, Any]:
    (found,) = [m for m in manifests() if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


def test_the_namespace_comes_first_and_everything_is_in_it() -> None:
    first, *others = manifests()
    assert first["kind"] == "Namespace"
    for found in others:
        if not found["kind"].startswith("Cluster"):
            assert found["metadata"]["namespace"] == first["metadata"]["name"]


def test_the_deployment_starts_this_version_as_it_wants_to_be_started() -> None:
    spec = only("Deployment")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["image"].endswith(f":{__version__}")
    assert container["ports"] == [{"name": "metrics", "containerPort": Config().port}]
    environment = {one["name"]: one.get("value", "x") for one in container["env"]}
    assert parse(container["args"], environment).identity == "x"
    assert spec["serviceAccountName"] == only("ServiceAccount")["metadata"]["name"]
    assert spec["enableServiceLinks"] is False


def test_the_service_finds_the_pods() -> None:
    labels = only("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert only("Service")["spec"]["selector"].items() <= labels.items()


def test_the_role_of_the_lease_is_that_of_the_lease_in_use() -> None:
    leases = [rule for rule in only("Role")["rules"] if rule["resources"] == ["leases"]]
    assert [rule.get("resourceNames") for rule in leases] == [None, [Config().lease_name]]


def test_the_key_that_is_made_is_the_one_that_is_mounted() -> None:
    spec = only("Deployment")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    config = parse(container["args"], {})
    (mount,), (volume,) = container["volumeMounts"], spec["volumes"]
    assert mount["name"] == volume["name"]
    assert config.state_key_file == f"{mount['mountPath']}/state.key"
    # Optional: otherwise the operator that makes it could not start.
    assert volume["secret"] == {"secretName": config.state_key_secret, "optional": True}


def test_the_policies_of_jobs_admit_the_operators_pods() -> None:
    labels = only("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert names.OPERATOR_LABELS.items() <= labels.items()
    assert OperatorSettings().namespace == only("Deployment")["metadata"]["namespace"]
