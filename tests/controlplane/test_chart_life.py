"""The chart installed, upgraded, rolled back and uninstalled, on an API server where no pod ever runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.apiserver import ApiServer, start
from tests.controlplane import charts
from tests.controlplane.operators import NAMESPACE, running, until
from tests.controlplane.rljobs import Job
from tests.helm import CHART, helm, succeed

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rljobs.rljob.dev"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/rljob-operator"
RELEASE = ("rljob", "--namespace", NAMESPACE)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """An API server that has never heard of RLJobs."""
    with start() as found:
        yield found


def install(server: ApiServer, *options: str, chart: Path = CHART) -> str:
    return succeed(
        *("install", *RELEASE, "--create-namespace", *options, str(chart)), kubeconfig=server.admin
    )


def until_served(server: ApiServer) -> None:
    until(
        lambda: server.call("GET", "/apis/rljob.dev/v1alpha1/rljobs").status == 200,
        "RLJobs are served",
    )


def short_names(server: ApiServer) -> list[str]:
    return list(server.call("GET", CRD).body["spec"]["names"]["shortNames"])


def arguments(server: ApiServer) -> list[str]:
    (container,) = server.call("GET", DEPLOYMENT).body["spec"]["template"]["spec"]["containers"]
    return list(container["args"])


def next_chart(folder: Path) -> Path:
    """The next version, in which the definition has one more short name."""
    chart = charts.copy_chart(folder, version="0.2.0")

    def change(definition: dict[str, Any]) -> None:
        definition["spec"]["names"]["shortNames"].append("rlx")

    charts.edit(chart / "definitions" / "rljobs.rljob.dev.yaml", change)
    return chart


def test_a_whole_life(server: ApiServer, tmp_path: Path) -> None:
    """The definition goes with every change; it and its jobs outlive the release."""
    said = install(server)
    assert "kubectl -n default apply -f -" in said
    assert "this cluster has no PodMonitor, PrometheusRule, ServiceMonitor" in said
    until_served(server)
    job = Job(server, "default")
    uid = job.create()["metadata"]["uid"]

    upgrade = ("upgrade", *RELEASE, "--reset-then-reuse-values", "--set", "operator.workers=8")
    succeed(*upgrade, str(next_chart(tmp_path)), kubeconfig=server.admin)
    assert short_names(server) == ["rlj", "rlx"]
    assert "--workers=8" in arguments(server)

    succeed(*upgrade, "--set", "crds.install=false", str(CHART), kubeconfig=server.admin)
    assert short_names(server) == ["rlj", "rlx"], "what the release left alone"
    succeed(*upgrade, "--set", "crds.install=true", str(CHART), kubeconfig=server.admin)
    assert short_names(server) == ["rlj"], "what it took back"
    succeed("rollback", "rljob", "2", "--namespace", NAMESPACE, kubeconfig=server.admin)
    assert short_names(server) == ["rlj", "rlx"]

    succeed("rollback", "rljob", "1", "--namespace", NAMESPACE, kubeconfig=server.admin)
    assert short_names(server) == ["rlj"]
    assert "--workers=4" in arguments(server)

    said = succeed("uninstall", *RELEASE, kubeconfig=server.admin)
    assert "[CustomResourceDefinition] rljobs.rljob.dev" in said
    assert server.call("GET", DEPLOYMENT).status == 404
    assert server.call("GET", CRD).status == 200
    assert (job.get() or {})["metadata"]["uid"] == uid

    other = ("install", "other", "--namespace", NAMESPACE, "--set", "crds.keep=false")
    refused = helm(*other, str(CHART), kubeconfig=server.admin)
    assert "invalid ownership metadata" in refused.stderr
    said = succeed(*other, "--take-ownership", str(CHART), kubeconfig=server.admin)
    assert "will delete all RLJobs" in said
    assert (job.get() or {})["metadata"]["uid"] == uid
    succeed("uninstall", "other", "--namespace", NAMESPACE, kubeconfig=server.admin)
    until(lambda: server.call("GET", CRD).status == 404, "the definition is gone")


def test_namespaces_that_are_not_there_are_named(server: ApiServer) -> None:
    """Before anything is made."""
    server.kubectl("create", "namespace", NAMESPACE)
    command = ("install", *RELEASE, "--set", "watchNamespaces={default,blue,green}", str(CHART))
    done = helm(*command, kubeconfig=server.admin)
    assert (
        "watchNamespaces: the cluster has no namespace blue, green; create it first" in done.stderr
    )
    assert server.call("GET", CRD).status == 404


def test_the_operator_runs_with_what_it_is_given(server: ApiServer, tmp_path: Path) -> None:
    """Arguments and rights of the chart are enough for the namespaces that are listed, and only there."""
    inside = server.namespace()
    install(server, "--set", f"watchNamespaces={{{inside}}}", "--set", "userRoles.create=false")
    until_served(server)
    roles = server.call("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles").body["items"]
    assert not [role for role in roles if role["metadata"]["name"].startswith("rljob")]
    kubeconfig = server.service_account(NAMESPACE, "rljob-operator")
    with running(kubeconfig, tmp_path / "log", *arguments(server)) as operator:
        operator.until_ready()
        job, outside = Job(server, inside), Job(server, server.namespace())
        outside.create()
        job.create()
        until(job.complete, "all children")
        until(lambda: job.status().get("phase"), "a status")
        assert outside.children() == {}
        assert operator.stop() == 0
    user = f"system:serviceaccount:{NAMESPACE}:rljob-operator"
    assert not [call for call in server.calls() if call.user == user and call.status == 403]
