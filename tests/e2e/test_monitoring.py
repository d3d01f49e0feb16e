"""The chart's monitors and rules under the real Prometheus Operator: what a job and the operator say of themselves
reaches Prometheus, and every query of every dashboard gives data."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rljob.kube.names import DATA_FOLDER
from tests.controlplane.forks import die_with_parent
from tests.e2e.conftest import OPERATOR
from tests.e2e.jobs import endless
from tests.e2e.kube import (
    ROOT,
    Job,
    Namespace,
    Object,
    await_definitions,
    environment,
    kubectl,
    until,
)
from tests.helm import CHART, succeed
from tests.monitoring.agreement import agrees
from tests.monitoring.panels import queries, without_data
from tests.monitoring.prometheus import RULES, Prometheus

CLUSTER = ROOT / "tests" / "cluster"
MODULE = "github.com/prometheus-operator/prometheus-operator"
TEMPLATES = ("podmonitor", "servicemonitor", "prometheusrule")
SCRAPE_SECONDS = 2
RATE_SECONDS = 30


@pytest.fixture(scope="module")
def monitoring(operator: str) -> Iterator[Namespace]:
    """The Prometheus Operator and a Prometheus that takes all monitors and rules, in a namespace of their own;
    the chart's monitors and rules beside the rljob operator."""
    script([str(CLUSTER / "monitoring.sh")])
    source = Path(script([str(CLUSTER / "programs.sh"), "--source", MODULE]))
    definitions = str(source / "example" / "prometheus-operator-crd")
    made = Namespace(f"monitoring-{uuid.uuid4().hex[:6]}")
    objects = [*bundle(source, made.name), *prometheus(made.name)]
    try:
        kubectl("create", "namespace", made.name)
        kubectl("apply", "--server-side", "-f", definitions)
        await_definitions("-f", definitions)
        apply([*objects, *rendered()])
        yield made
    finally:
        kubectl("delete", "--ignore-not-found", "-f", "-", given=yaml.safe_dump_all(objects))
        # With their definitions go the monitors and rules.
        kubectl("delete", "--ignore-not-found", "-f", definitions)
        kubectl("delete", "namespace", made.name, "--ignore-not-found", "--wait=false")


def script(arguments: list[str]) -> str:
    done = subprocess.run(
        arguments, env=environment(), capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def bundle(source: Path, namespace: str) -> list[Object]:
    """The Prometheus Operator as its release says, but for its definitions, with the images that are here."""
    documents = re.split(r"^---$", (source / "bundle.yaml").read_text(), flags=re.MULTILINE)
    kept = [text for text in documents if "kind: CustomResourceDefinition" not in text]
    objects: list[Object] = [found for text in kept if (found := yaml.safe_load(text))]
    for one in objects:
        if one["metadata"].get("namespace") is not None:
            one["metadata"]["namespace"] = namespace
        for subject in one.get("subjects", ()):
            subject["namespace"] = namespace
        if one["kind"] == "Deployment":
            container = one["spec"]["template"]["spec"]["containers"][0]
            container["image"] = "ghcr.io/rljob/test-prometheus-operator:1"
            reloader = "--prometheus-config-reloader"
            image = "ghcr.io/rljob/test-prometheus-config-reloader:1"
            others = [text for text in container["args"] if not text.startswith(reloader)]
            container["args"] = [*others, f"{reloader}={image}"]
    return objects


def prometheus(namespace: str) -> list[Object]:
    """One that takes every monitor and every rule, and may find what they name."""
    name = {"name": "rljob-test-prometheus"}
    account = {**name, "namespace": namespace}
    found = ["pods", "services", "endpoints"]
    verbs = ["get", "list", "watch"]
    role = [
        {"apiGroups": [""], "resources": found, "verbs": verbs},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs},
    ]
    rbac = "rbac.authorization.k8s.io"
    everything: Object = {
        selector: {}
        for kind in ("podMonitor", "serviceMonitor", "rule")
        for selector in (f"{kind}Selector", f"{kind}NamespaceSelector")
    }
    spec = {
        **everything,
        "image": "ghcr.io/rljob/test-prometheus-server:1",
        "serviceAccountName": name["name"],
        "evaluationInterval": f"{SCRAPE_SECONDS}s",
        "resources": {"requests": {"memory": "100Mi"}},
    }
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": name, "rules": role},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": name,
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", **name},
            "subjects": [{"kind": "ServiceAccount", **account}],
        },
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "Prometheus",
            "metadata": {"name": "x", "namespace": namespace},
            "spec": spec,
        },
    ]


def rendered() -> list[Object]:
    """Monitors and rules as the chart makes them for the release that `operator/manifests` are made as."""
    shown = [text for one in TEMPLATES for text in ("--show-only", f"templates/{one}.yaml")]
    wanted = [
        text
        for one in ("podMonitor", "serviceMonitor", "prometheusRule")
        for text in ("--set", f"{one}.enabled=true")
    ]
    faster = [
        text
        for one in ("podMonitor", "serviceMonitor")
        for text in ("--set", f"{one}.interval={SCRAPE_SECONDS}s")
    ]
    given = ("template", "rljob", str(CHART), "--namespace", OPERATOR)
    return list(yaml.safe_load_all(succeed(*given, *shown, *wanted, *faster)))


def apply(objects: list[Object]) -> None:
    kubectl("apply", "--server-side", "-f", "-", given=yaml.safe_dump_all(objects))


@contextlib.contextmanager
def reached(namespace: Namespace) -> Iterator[Prometheus]:
    """The Prometheus, through a forwarded port."""
    pods = ("pods", "-l", "app.kubernetes.io/name=prometheus", "-o", "name")
    until(lambda: namespace.run("get", *pods).strip(), "a Prometheus")
    pod = namespace.run("get", *pods).strip()
    namespace.run("wait", "--for=condition=Ready", pod, "--timeout=300s")
    process = subprocess.Popen(
        ["kubectl", "-n", namespace.name, "port-forward", pod, ":9090"],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert found, line
        yield Prometheus(f"http://127.0.0.1:{found[1]}")
    finally:
        process.kill()
        process.communicate()


def records(job: Job) -> list[dict[str, Any]]:
    """Whole lines of the learner's `metrics.jsonl`."""
    pod = job.pod("learner")["metadata"]["name"]
    path = f"{DATA_FOLDER}/metrics.jsonl"
    text = job.namespace.run("exec", pod, "-c", "learner", "--", "cat", path)
    return [json.loads(line) for line in text.splitlines(True) if line.endswith("\n")]


def test_a_job_fills_every_panel_and_agrees_with_its_own_records(
    monitoring: Namespace, namespace: Namespace
) -> None:
    evaluation = {"interval": "5s", "episodes": 1}
    namespace.apply(endless(evaluation=evaluation, rollout={"replicas": 2, "envsPerReplica": 4}))
    job = namespace.job("x")
    job.until_trains()
    asked = queries(namespace.name, "x", f"{RATE_SECONDS}s")
    missing: list[str] = []
    with reached(monitoring) as prometheus:

        def all_give_data() -> bool:
            missing[:] = without_data(prometheus, asked)
            return not missing

        until(all_give_data, lambda: "\n".join(missing))
        mine = f'namespace="{namespace.name}",rljob="x"'
        roles = prometheus.query(f"count by (role) (up{{{mine}}} == 1)")
        assert {one.labels["role"]: one.value for one in roles} == {
            "rollout": 2,
            "buffer": 1,
            "learner": 1,
            "evaluator": 1,
        }
        training = f'rljob:phase:info{{{mine},phase="Training"}}'
        until(lambda: prometheus.query(training), "the operator's word that it trains")
        assert prometheus.value(f"count(rljob:phase:info{{{mine}}})") == 1
        agrees(prometheus, lambda: records(job), mine, RATE_SECONDS)
        groups = prometheus.get("/api/v1/rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
        alerts = {rule["name"] for rule in rules if rule["type"] == "alerting"}
        assert alerts == set(re.findall(r"alert: (\w+)", "".join(map(Path.read_text, RULES))))
        # Others' jobs may be in the cluster as well.
        firing = f'ALERTS{{namespace=~"{namespace.name}|{OPERATOR}",alertstate="firing"}}'
        assert prometheus.query(firing) == []

        namespace.rljob("suspend", "x")
        job.until_phase("Suspended")
        until(lambda: not prometheus.query(f"up{{{mine}}}"), "no target of it is left")
        assert prometheus.query(firing) == []
