"""Wrong values stop helm with the field named; what contradicts itself is said in words."""

from __future__ import annotations

import pytest
import yaml

from charts import values_table
from tests.helm import CHART, helm, succeed

WRONG = {
    "replica=2": "additional properties 'replica' not allowed",
    "image.tga=1": "at '/image': additional properties 'tga' not allowed",
    "replicas=0": "at '/replicas': minimum: got 0, want 1",
    "replicas=two": "at '/replicas': got string, want integer",
    "image.repository=ghcr.io/a/b:1": "at '/image/repository': 'ghcr.io/a/b:1' does not match",
    "image.tag=a/b": "at '/image/tag': 'a/b' does not match",
    "image.digest=0123": "at '/image/digest'",
    "image.pullPolicy=Sometimes": "at '/image/pullPolicy': value must be one of '', 'Always'",
    "imagePullSecrets[0].name=x": "at '/imagePullSecrets/0': got object, want string",
    "watchNamespaces={Team}": "at '/watchNamespaces/0': 'Team' does not match",
    "watchNamespaces={a,a}": "at '/watchNamespaces': items at 0 and 1 are equal",
    "lease=true": "at '/lease': got boolean, want object",
    "operator.workers=0": "at '/operator/workers': minimum: got 0, want 1",
    "operator.workers=null": "at '/operator': missing property 'workers'",
    "operator.resyncSeconds=10m": "at '/operator/resyncSeconds': got string, want number",
    "operator.logLevel=verbose": "at '/operator/logLevel': value must be one of 'debug'",
    "jobs.checkpointSize=big": "at '/jobs/checkpointSize': 'big' does not match",
    "jobs.workerImage=a b": "at '/jobs/workerImage'",
    "crds.keep=no": "at '/crds/keep': got string, want boolean",
    "podMonitor.enabled=maybe": "at '/podMonitor/enabled': value must be one of 'auto', true, false",
    "podMonitor.interval=15": "at '/podMonitor/interval': got number, want string",
    "podMonitor.relabelings[0].target=x": "at '/podMonitor/relabelings/0': additional properties",
    "podDisruptionBudget.maxUnavailable=0": "at '/podDisruptionBudget/maxUnavailable'",
    r"podLabels.app\.kubernetes\.io/name=x": "at '/podLabels/app.kubernetes.io~1name'",
    "extraEnv[0].value=x": "at '/extraEnv/0': missing property 'name'",
    "extraArgs={workers=3}": "at '/extraArgs/0': 'workers=3' does not match",
    "service.port=70000": "at '/service/port': maximum: got 70,000, want 65,535",
    "resources.memory=1Gi": "at '/resources': additional properties 'memory' not allowed",
}
CONTRADICTORY = {
    "replicas=2,lease.enabled=false": "replicas: 2 with lease.enabled: false would run 2 operators",
    "serviceAccount.create=false": "serviceAccount.name: is required",
    "dashboards.folder=A,dashboards.folderAnnotation=": "requires dashboards.folderAnnotation",
    "networkPolicy.enabled=false,networkPolicy.restrictEgress=true": "requires a policy",
    "networkPolicy.extraEgress[0].ports[0].port=1": "networkPolicy.extraEgress: has no effect",
}


def refused(*options: str) -> str:
    done = helm("template", "rljob", str(CHART), *options)
    assert done.returncode == 1, done.stdout
    return done.stderr


@pytest.mark.parametrize(("given", "message"), WRONG.items())
def test_a_wrong_value(given: str, message: str) -> None:
    assert message in refused("--set", given)


@pytest.mark.parametrize(("given", "message"), CONTRADICTORY.items())
def test_a_contradiction(given: str, message: str) -> None:
    assert message in refused("--set", given)


@pytest.mark.parametrize(
    ("version", "is_taken"), [("v1.30.9", False), ("v1.31.0", True), ("v1.33.2-gke.100", True)]
)
def test_kubernetes_from_1_31_on(version: str, is_taken: bool) -> None:
    if is_taken:
        succeed("template", "rljob", str(CHART), "--kube-version", version)
    else:
        said = "requires kubeVersion: >=1.31.0-0 which is incompatible with Kubernetes v1.30.9"
        assert said in refused("--kube-version", version)


def test_the_same_label_twice() -> None:
    """The one that is closer to the object wins."""
    labels = "commonLabels.a=far,podLabels.a=near,dashboards.labels.a=near"
    for text in succeed("template", "rljob", str(CHART), "--set", labels).split("\n---\n"):
        found = yaml.safe_load(text)
        if found["kind"] == "Deployment":
            assert found["metadata"]["labels"]["a"] == "far"
            assert found["spec"]["template"]["metadata"]["labels"]["a"] == "near"


def test_what_may_be_empty_may_be_null() -> None:
    """As helm lets a default be taken away."""
    monitors = ("podMonitor", "serviceMonitor", "prometheusRule", "dashboards")
    given = [f"{name}.enabled=true" for name in monitors]
    rows = values_table.values((CHART / "values.yaml").read_text())
    # All that are empty by default, and these.
    empty = ("{}", "[]", '""')
    more = ("resources", "podSecurityContext", "securityContext", "dashboards.folderAnnotation")
    given += [f"{row.path}=null" for row in rows if row.default in empty or row.path in more]
    succeed("template", "rljob", str(CHART), "--set", ",".join(given))


def test_as_part_of_another_chart() -> None:
    """Helm passes `global` on to each part."""
    succeed("template", "rljob", str(CHART), "--set", "global.registry=x")
