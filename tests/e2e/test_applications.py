"""Programs with their own loop in pods of their own, from which a job on the cluster learns."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.jobs import requests
from tests.e2e.kube import Namespace, Object, until

PROGRAM = """
import gymnasium
import rljob

environment = gymnasium.make("CartPole-v1")
with rljob.Agent("shop") as agent:
    while True:
        observation, _ = environment.reset()
        with agent.episode() as episode:
            over = False
            while not over:
                observation, reward, terminated, truncated, _ = environment.step(episode.act(observation))
                episode.reward(float(reward))
                over = terminated or truncated
            episode.end(terminated, truncated, observation)
"""


def job(stop: Object) -> Object:
    """A job without an environment."""
    spaces = {
        "observation": {"type": "Box", "shape": [4]},
        "action": {"type": "Discrete", "choices": 2},
    }
    return {
        "apiVersion": "rljob.dev/v1alpha1",
        "kind": "RLJob",
        "metadata": {"name": "shop"},
        "spec": {
            "environment": {"spaces": spaces},
            "algorithm": {"name": "PPO", "config": {"learningRate": 3e-3, "segmentsPerBatch": 8}},
            "stop": stop,
            "seed": 1,
            "rollout": {"applications": {}},
            "buffer": {"template": requests("buffer", cpu="50m")},
            "learner": {"template": requests("learner", cpu="50m")},
        },
    }


def pod(name: str) -> Object:
    """A user's pod: its own program, rljob, and the Secret of its application."""
    container: Any = {
        "name": "program",
        "image": "ghcr.io/rljob/rljob-worker:0.1.0",
        "command": ["python", "-c", PROGRAM],
        "volumeMounts": [{"name": "keys", "mountPath": "/etc/rljob", "readOnly": True}],
        "resources": {"requests": {"cpu": "50m"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"rljob.dev/application-of": "shop"}},
        "spec": {
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": [
                {
                    "name": "keys",
                    "secret": {"secretName": f"shop-application-{name}", "defaultMode": 0o440},
                }
            ],
            "securityContext": {
                "runAsNonRoot": True,
                "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        },
    }


def begin(namespace: Namespace, stop: Object, *applications: str) -> None:
    namespace.apply(job(stop))
    until_it_waits(namespace)
    for name in applications:
        made = namespace.rljob("applications", "add", "shop", name)
        assert made.returncode == 0, made.stderr
        namespace.apply(pod(name))


def until_it_waits(namespace: Namespace) -> str:
    """What explain says, once it says that the job waits for applications."""

    def said() -> str:
        text = namespace.rljob("explain", "shop").stdout
        return text if "application" in text else ""

    return str(until(said, "the job waits for applications"))


def log(namespace: Namespace, name: str) -> str:
    return namespace.run("logs", name)


def test_a_job_learns_from_a_pod_of_the_user(namespace: Namespace) -> None:
    namespace.apply(job({"meanReturn": 60, "steps": 500_000}))
    shop = namespace.job("shop")
    assert "stall" not in until_it_waits(namespace).lower()
    assert shop.condition("Stalled").get("status") != "True"
    assert shop.pods("rollout") == []

    made = namespace.rljob("applications", "add", "shop", "till")
    assert made.returncode == 0, made.stderr
    assert 'rljob.Agent("shop")' in made.stdout
    assert namespace.rljob("applications", "list", "shop").stdout.split() == ["till"]
    namespace.apply(pod("till"))
    status = shop.until(
        lambda s: s.get("applications", {}).get("busiest"), "the application is in the status"
    )
    assert status["applications"]["connected"] == 1
    (busiest,) = status["applications"]["busiest"]
    assert busiest["name"].startswith("till")
    shop.wait("Complete")
    assert shop.condition("Complete")["reason"] == "MeanReturnReached"
    assert shop.status()["restarts"] == 0
    # The command's Secret and ConfigMap go with the job.
    namespace.run("delete", "rljob", "shop")
    until(
        lambda: not namespace.all("secrets,configmaps", "rljob.dev/application-of=shop"),
        "no key is left",
    )


@pytest.mark.full
def test_a_revoked_key_ends_one_application_alone(namespace: Namespace) -> None:
    begin(namespace, {"duration": "1h"}, "till", "stock")
    shop = namespace.job("shop")
    shop.until(
        lambda s: s.get("applications", {}).get("connected") == 2, "both applications are connected"
    )
    done = namespace.rljob("applications", "revoke", "shop", "till")
    assert done.returncode == 0, done.stderr

    def phase(name: str) -> str:
        return str(json.loads(namespace.run("get", "pod", name, "-o", "json"))["status"]["phase"])

    until(lambda: phase("till") == "Failed", "the program ends")
    assert "rljob.errors.RunError" in log(namespace, "till")
    assert "revoked" in log(namespace, "till")
    shop.until_trains(shop.steps())
    assert phase("stock") == "Running"
    assert shop.status()["restarts"] == 0
