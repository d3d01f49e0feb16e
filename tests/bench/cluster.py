"""What the cluster adds: `python -m tests.bench.cluster [--rounds 3]`, on the cluster of `make cluster`.

From `kubectl apply` to the first environment step; from a rollout pod's deletion to the first step of its
replacement; training on the cluster against `rljob run` on the same machine, in turn. The operator must
be there.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.jobs import example
from tests.e2e.kube import Job, KubectlError, Namespace, environment, kubectl, until

STEPS_COUNTER = "rljob_rollout_environment_steps_total"
STEPS = 1_500_000
"""Environment steps of one training run: long against its start."""
AIMS = {"apply to first step, s": 15.0, "rollout replaced, s": 10.0, "cluster / local": 0.7}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cluster", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    found: dict[str, list[float]] = {name: [] for name in AIMS}
    for number in range(rounds):
        namespace = Namespace(f"bench-{number}-{uuid.uuid4().hex[:6]}")
        kubectl("create", "namespace", namespace.name)
        try:
            first, replaced = starts(namespace)
            found["apply to first step, s"].append(first)
            found["rollout replaced, s"].append(replaced)
            found["cluster / local"].append(on_cluster(namespace) / locally())
        finally:
            kubectl("delete", "namespace", namespace.name)
    for name, values in found.items():
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{name:26} {statistics.median(values):6.2f} ({spread}); aim {AIMS[name]:g}")


def starts(namespace: Namespace) -> tuple[float, float]:
    """Seconds from apply, and from a pod's deletion, to the first step of a rollout."""
    wanted = training("starts", {"duration": "1h"})
    begun = time.monotonic()
    namespace.apply(wanted)
    job = namespace.job("starts")
    old = first_step(job, without=set())
    first = time.monotonic() - begun
    for pod in job.pods("rollout"):
        old.add(pod["metadata"]["name"])
    victim = job.pods("rollout", alive=True)[0]["metadata"]["name"]
    begun = time.monotonic()
    namespace.run("delete", "pod", victim, "--wait=false")
    first_step(job, without=old)
    replaced = time.monotonic() - begun
    namespace.run("delete", "rljob", "starts")
    until(lambda: not job.pods(), "its pods are gone")
    return first, replaced


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


if __name__ == "__main__":
    main()
