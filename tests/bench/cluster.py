"""What the cluster adds and how it scales, on the cluster of `make cluster` with the operator in it.

From `kubectl apply` to the first environment step; from a rollout pod's deletion to the first step of its
replacement; training on the cluster against `rljob run` on the same machine, in turn; and the rate with
one, two, four and eight rollout pods whose environment sleeps, so that two cores are enough for them.
"""

from __future__ import annotations

import copy
import json
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from tests.bench import sleeping
from tests.bench.findings import findings
from tests.bench.group import Figure, Group, Results, Values, plain, ratio
from tests.bench.stages import table
from tests.e2e.jobs import example
from tests.e2e.kube import Job, KubectlError, Namespace, Object, environment, kubectl, until

STEPS_COUNTER = "rljob_rollout_environment_steps_total"
STEPS = 1_500_000
"""Environment steps of one training run: long against its start."""
PODS = (1, 2, 4, 8)
SLEEP_MILLISECONDS, ENVS = 8.0, 16
"""Of a rollout that mostly waits: 2,000 steps each second."""
SETTLED, SECONDS = 3.0, 8.0
"""Of training before the rate counts, and while it is taken."""


@contextmanager
def _namespace() -> Iterator[Namespace]:
    namespace = Namespace(f"bench-{uuid.uuid4().hex[:6]}")
    kubectl("create", "namespace", namespace.name)
    try:
        yield namespace
    finally:
        kubectl("delete", "namespace", namespace.name)


def begins(seed: int) -> Values:
    """Seconds until a job, and a replaced rollout, take their first step."""
    with _namespace() as namespace:
        return starts(namespace)


def against_local(seed: int) -> Values:
    """The same training in pods and as processes on the machine."""
    with _namespace() as namespace:
        return {"cluster": on_cluster(namespace), "local": locally()}


def scaling(seed: int) -> Values:
    """Environment steps each second with so many rollout pods."""
    values = {}
    with _namespace() as namespace:
        for count in PODS:
            values[f"pods {count}"] = _rate(namespace, count)
    return values


def _rate(namespace: Namespace, count: int) -> float:
    job = training(f"pods-{count}", {"duration": "1h"})
    job["spec"] |= {
        "environment": {
            "entryPoint": "sleeping:Sleeping",
            "kwargs": {"milliseconds": SLEEP_MILLISECONDS},
        },
        "code": {"sleeping.py": Path(sleeping.__file__).read_text()},
        "rollout": {"replicas": count, "envsPerReplica": ENVS},
    }
    namespace.apply(job)
    made = namespace.job(f"pods-{count}")
    until(lambda: made.ready("rollout") == count, f"{count} rollouts are ready")
    began = until(lambda: _trained(made), "training")["seconds"]
    first = until(lambda: _trained(made, began + SETTLED), "training goes on")
    last = until(lambda: _trained(made, first["seconds"] + SECONDS), "training goes on")
    namespace.run("delete", "rljob", made.name)
    until(lambda: not made.pods(), "its pods are gone")
    return float((last["steps"] - first["steps"]) / (last["seconds"] - first["seconds"]))


def _trained(job: Job, least: float = 0.0) -> dict[str, Any]:
    """The job's progress once it has trained for so many seconds; empty before."""
    progress: dict[str, Any] = job.status().get("progress", {})
    return progress if progress.get("seconds", 0.0) > least else {}


def starts(namespace: Namespace) -> Values:
    """Seconds from apply, and from a pod's deletion, to the first step of a rollout; and how far the pods
    were when, to a second."""
    wanted = training("starts", {"duration": "1h"})
    begun, applied = time.monotonic(), time.time()
    namespace.apply(wanted)
    job = namespace.job("starts")
    old = first_step(job, without=set())
    first = time.monotonic() - begun
    reached = _reached(job.pods(), applied)
    for pod in job.pods("rollout"):
        old.add(pod["metadata"]["name"])
    victim = job.pods("rollout", alive=True)[0]["metadata"]["name"]
    begun = time.monotonic()
    namespace.run("delete", "pod", victim, "--wait=false")
    first_step(job, without=old)
    replaced = time.monotonic() - begun
    namespace.run("delete", "rljob", "starts")
    until(lambda: not job.pods(), "its pods are gone")
    return {**reached, "first step": first, "replaced": replaced}


def _reached(pods: list[Object], applied: float) -> Values:
    """Seconds until the last of these pods had a node, and until the last of their containers ran."""
    conditions = [one for pod in pods for one in pod["status"].get("conditions", [])]
    containers = [one for pod in pods for one in pod["status"].get("containerStatuses", [])]
    times = {
        "scheduled": [c["lastTransitionTime"] for c in conditions if c["type"] == "PodScheduled"],
        "running": [
            c["state"]["running"]["startedAt"] for c in containers if "running" in c["state"]
        ],
    }
    return {
        name: max(datetime.fromisoformat(at).timestamp() for at in each) - applied
        for name, each in times.items()
    }


def first_step(job: Job, without: set[str]) -> set[str]:
    """Wait for a rollout with steps that is not one of these; returns its name in a set."""

    def look() -> set[str]:
        names = {pod["metadata"]["name"] for pod in job.pods("rollout", alive=True)}
        return {name for name in names - without if steps_of(job, name) > 0}

    stepping: set[str] = until(look, "the first environment step")
    return stepping


def steps_of(job: Job, pod: str) -> float:
    """Steps that a rollout's metrics tell; 0 while it does not answer."""
    path = f"/api/v1/namespaces/{job.namespace.name}/pods/{pod}:9090/proxy/metrics"
    try:
        lines = kubectl("get", "--raw", path).splitlines()
    except KubectlError:
        return 0.0
    return next((float(line.split()[1]) for line in lines if line.startswith(STEPS_COUNTER)), 0.0)


def on_cluster(namespace: Namespace) -> float:
    """Steps per second of a training run in pods, by the learner's own clock."""
    namespace.apply(training("trains", {"steps": STEPS}))
    job = namespace.job("trains")
    job.wait("Complete", 600)
    progress = job.status()["progress"]
    return float(progress["steps"]) / float(progress["seconds"])


def locally() -> float:
    """The same with `rljob run`, over tcp as pods do."""
    with tempfile.TemporaryDirectory() as folder:
        file, run = Path(folder, "job.yaml"), Path(folder, "run")
        file.write_text(yaml.safe_dump(training("trains", {"steps": STEPS})))
        subprocess.run(
            ["rljob", "run", str(file), "--dir", str(run), "--plain", "--transport", "tcp"],
            env=environment(), check=True, capture_output=True, timeout=600,
        )  # fmt: skip
        result = json.loads((run / "result.json").read_text())
        return float(result["steps"]) / float(result["seconds"])


def training(name: str, stop: dict[str, Any]) -> dict[str, Any]:
    """The README's job with another end and without an evaluator."""
    job = copy.deepcopy(example("cartpole-ppo.yaml"))
    job["metadata"] = {"name": name}
    job["spec"]["stop"] = stop
    del job["spec"]["evaluation"]
    return job


def _stages(results: Results) -> str:
    columns = {
        "scheduled": "all pods have a node, s",
        "running": "all containers run, s",
        "first step": "first environment step, s",
        "replaced": "first step of a replaced rollout, s",
    }
    return table({"after `kubectl apply`": results.get("begins", [])}, columns)


GROUP = Group(
    "cluster",
    "On a cluster",
    {"begins": begins, "against local": against_local, "scaling": scaling},
    [
        plain("kubectl apply to first step", ("begins", "first step"), 15.0, " s", least=False),
        plain("Rollout pod replaced", ("begins", "replaced"), 10.0, " s", least=False),
        ratio(
            "Steps/s in pods / as processes",
            ("against local", "cluster"),
            ("against local", "local"),
            0.7,
            " steps/s",
        ),
        *(
            Figure(
                f"Rate of {count} rollout pods / {count} times that of one",
                ("scaling",),
                lambda value, count=count: (
                    value("scaling", f"pods {count}") / (count * value("scaling", "pods 1"))
                ),
                (("scaling", f"pods {count}", " steps/s"), ("scaling", "pods 1", " steps/s")),
                0.9,
            )
            for count in PODS[1:]
        ),
    ],
    stages=_stages,
    quick=0,
    elsewhere=True,
    note=(
        "kind with two nodes in containers on the same two cores; `make cluster images`, then the operator "
        "as in the README. Pods scale with an environment that sleeps 8 ms before each step of its 16 "
        "environments, so that rollouts need no processor: what is measured is whether buffer and learner "
        "keep up. Others are not told: pods are no processes of who measures."
    ),
    limit=findings(
        (
            "Pods are made at once",
            "1 s after `kubectl apply` all are made; after 2 s all but the learner's run",
        ),
        (
            "The learner waits for the volume of its checkpoints",
            "5 to 6 s; this cluster's provisioner makes a volume with a pod of its own",
        ),
        (
            "Then it starts",
            "1 s for its container, 3 s until PyTorch is imported and the rollouts have the first policy version",
        ),
        (
            "A replaced rollout is faster",
            "it needs no volume and no PyTorch",
        ),
        (
            "Pods cost more than processes",
            "the network between pods and the operator beside them; with eight rollouts, kubelets, probes and the API server share two cores with the buffer and the learner",
        ),
    ),
)
