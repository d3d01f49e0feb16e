"""RLJobs that the tests train."""

from __future__ import annotations

from typing import Any

import yaml

from tests.e2e.kube import ROOT, Object

SLOW = '''
import time

import gymnasium


class Slow(gymnasium.Wrapper):
    """CartPole that takes its time, so that many jobs fit on two cores."""

    def __init__(self, seconds):
        super().__init__(gymnasium.make("CartPole-v1"))
        self.seconds = seconds

    def step(self, action):
        time.sleep(self.seconds)
        return super().step(action)


def make(seconds=0.002):
    return Slow(seconds)
'''


def example(name: str) -> Object:
    """An example as it is in `examples/`."""
    loaded: Object = yaml.safe_load((ROOT / "examples" / name).read_text())
    return loaded


def endless(name: str = "x", **spec: Any) -> Object:
    """PPO on a slow CartPole; trains until it is stopped.

    Each role requests little CPU unless its section has a template, so that the jobs of several tests fit on one node.
    """
    job: Object = {
        "apiVersion": "rljob.dev/v1alpha1",
        "kind": "RLJob",
        "metadata": {"name": name},
        "spec": {
            "environment": {"entryPoint": "slow:make"},
            "code": {"slow.py": SLOW},
            "algorithm": {"name": "PPO", "config": {"rolloutLength": 16}},
            "stop": {"duration": "1h"},
            "seed": 1,
            "rollout": {"replicas": 1, "envsPerReplica": 4},
            "checkpoint": {"interval": "1s"},
            **spec,
        },
    }
    for role in ("rollout", "buffer", "learner"):
        section = job["spec"].setdefault(role, {})
        job["spec"][role] = {"template": requests(role, cpu="50m"), **section}
    return job


def requests(role: str, **amounts: str) -> Object:
    """A template with what the role's container requests of each resource."""
    return {"spec": {"containers": [{"name": role, "resources": {"requests": amounts}}]}}
