"""What the chart renders to: golden files, the manifests, the definition; a real API server takes all of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.apiserver import ApiServer, start
from tests.controlplane import charts
from tests.controlplane.charts import CHART, MONITORS, SETS, golden_of, values_of
from tests.controlplane.operators import NAMESPACE, ROOT
from tests.helm import succeed

MODULE = "github.com/prometheus-operator/prometheus-operator"
WATCHED = ("team-a", "team-b", "grafana")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return charts.small_chart(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def plain() -> Iterator[ApiServer]:
    """An API server that knows nothing but Kubernetes' own kinds."""
    with start() as server:
        prepare(server)
        yield server


@pytest.fixture(scope="module")
def monitored() -> Iterator[ApiServer]:
    """One that knows the kinds of the Prometheus Operator as well."""
    command = (ROOT / "tests" / "cluster" / "programs.sh", "--source", MODULE)
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    folder = Path(found.stdout.strip()) / "example" / "prometheus-operator-crd"
    with start() as server:
        prepare(server)
        for kind in MONITORS:
            server.install(folder / f"monitoring.coreos.com_{kind.lower()}s.yaml")
        yield server


def prepare(server: ApiServer) -> None:
    """The namespaces that the sets name."""
    for name in (NAMESPACE, *WATCHED):
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        body = {"metadata": {"name": name, "labels": labels}}
        assert server.call("POST", "/api/v1/namespaces", body).status == 201


def rendered_for(server: ApiServer, *options: str) -> str:
    """What helm would install there."""
    asking = ("--validate", "--dry-run=server", "--no-hooks")
    return succeed(
        *("template", charts.RELEASE, str(CHART), "--namespace", NAMESPACE, *asking, *options),
        kubeconfig=server.admin,
    )


def kinds(text: str) -> set[str]:
    return {str(found["kind"]) for found in charts.documents(text)}


def takes(server: ApiServer, text: str) -> None:
    """Every object is as the API server wants it, unknown fields included."""
    done = server.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"), stdin=text
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("values", SETS)
def test_lint(values: str) -> None:
    succeed("lint", "--strict", str(CHART), "--values", str(values_of(values)))


@pytest.mark.parametrize("values", SETS)
def test_golden(values: str, small: Path) -> None:
    assert charts.golden(small, values) == golden_of(values).read_text()


def test_the_manifests_are_the_chart() -> None:
    for name, text in charts.manifests().items():
        assert (charts.MANIFESTS / name).read_text() == text, name


@pytest.mark.parametrize("values", SETS)
def test_taken_without_a_prometheus_operator(values: str, plain: ApiServer) -> None:
    """Nothing is rendered that this cluster does not know, unless it was asked for by name."""
    given = yaml.safe_load(values_of(values).read_text())
    by_name = [
        f"--set={name}.enabled=auto"
        for name in ("podMonitor", "serviceMonitor", "prometheusRule")
        if given.get(name, {}).get("enabled") is True
    ]
    text = rendered_for(plain, "--values", str(values_of(values)), *by_name)
    assert not kinds(text) & set(MONITORS)
    takes(plain, text)


@pytest.mark.parametrize("values", SETS)
def test_taken_with_a_prometheus_operator(values: str, monitored: ApiServer) -> None:
    takes(monitored, rendered_for(monitored, "--values", str(values_of(values))))


def test_what_a_prometheus_operator_adds(monitored: ApiServer) -> None:
    """`auto` follows the cluster; the real rules and dashboards are all there."""
    text = rendered_for(monitored)
    assert {"PodMonitor", "ServiceMonitor"} <= kinds(text)
    names = {found["metadata"]["name"] for found in charts.documents(text)}
    for folder, prefix in (("rules", "rljob-operator"), ("dashboards", "rljob-operator-dashboard")):
        for file in (CHART / folder).glob("*.*"):
            assert f"{prefix}-{file.stem}" in names


def test_asked_for_by_name_where_it_is_not_known(plain: ApiServer) -> None:
    """Then helm says what is missing."""
    with pytest.raises(AssertionError, match='no matches for kind "PodMonitor"'):
        rendered_for(plain, "--set", "podMonitor.enabled=true")


@pytest.mark.parametrize("keep", [True, False])
def test_the_definition_is_the_one_of_the_project(keep: bool) -> None:
    text = succeed(
        *("template", "x", str(CHART), "--show-only", "templates/crd.yaml"),
        *("--set", f"crds.keep={str(keep).lower()}", "--set", "crds.annotations.a=b"),
    )
    found: dict[str, Any] = yaml.safe_load(text)
    annotations = found["metadata"].pop("annotations")
    assert annotations == {"a": "b", **({"helm.sh/resource-policy": "keep"} if keep else {})}
    found["metadata"].pop("labels")
    assert found == yaml.safe_load((CHART / "definitions" / "rljobs.rljob.dev.yaml").read_text())


def test_rights_in_some_namespaces_are_the_rights_in_all() -> None:
    """Roles in those that are listed, and nothing in the cluster."""

    def roles(*options: str) -> list[dict[str, Any]]:
        command = ("template", "rljob", str(CHART), "--show-only", "templates/rbac.yaml")
        return list(yaml.safe_load_all(succeed(*command, "--namespace", NAMESPACE, *options)))

    (everywhere,) = [found for found in roles() if found["kind"] == "ClusterRole"]
    listed = roles("--set", "watchNamespaces={team-a,team-b}")
    assert {found["kind"] for found in listed} == {"Role", "RoleBinding"}
    granted = {
        found["metadata"]["namespace"]: found["rules"]
        for found in listed
        if found["kind"] == "Role" and found["metadata"]["name"] == "rljob-operator-jobs"
    }
    assert granted == {"team-a": everywhere["rules"], "team-b": everywhere["rules"]}
