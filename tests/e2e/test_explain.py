"""`rljob explain` of jobs that are broken, each in another way."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.e2e.jobs import endless
from tests.e2e.kube import Namespace, until

HANGS = '''
import time

import gymnasium


class Hangs(gymnasium.Wrapper):
    """Hangs in its 200th step."""

    steps = 0

    def step(self, action):
        self.steps += 1
        if self.steps == 200:
            time.sleep(10_000)
        return super().step(action)


def make():
    return Hangs(gymnasium.make("CartPole-v1"))
'''
RAISES = "def make():\n    raise RuntimeError('the simulator is not licensed')\n"


def container(role: str, **fields: Any) -> dict[str, Any]:
    """A section with a template that changes the role's container."""
    return {"template": {"spec": {"containers": [{"name": role, **fields}]}}}


BROKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "unschedulable": (
        {"learner": container("learner", resources={"requests": {"cpu": "64"}})},
        r"x is not training: the learner is not ready: Unschedulable: 0/2 nodes .*Insufficient cpu",
        "lower the requests",
    ),
    "image": (
        {"image": "registry.invalid/no-such-image:1"},
        r"x is not training: the \w+ is not ready: (ErrImagePull|ImagePullBackOff)",
        "correct spec.image",
    ),
    "secret": (
        {"learner": container("learner", envFrom=[{"secretRef": {"name": "no-such-secret"}}])},
        r"CreateContainerConfigError: .*no-such-secret",
        "create the Secret",
    ),
    "template": (
        {"rollout": container("rollout", ports=[{"containerPort": 99_999}])},
        r"x is not training: the rollout is not ready: InvalidTemplate: .*x-rollout.*containerPort",
        "names the field",
    ),
    "raises": (
        {"environment": {"entryPoint": "raises:make"}, "code": {"raises.py": RAISES}},
        r"x has failed: InvalidSpec: rollout: .*the simulator is not licensed",
        "correct the field",
    ),
    "hangs": (
        {"environment": {"entryPoint": "hangs:make"}, "code": {"hangs.py": HANGS}},
        r"x is not training: x-rollout-\S+ has done nothing for \d+ s, in code/hangs.py:15 step",
        "stall.policy: Restart",
    ),
    "slow": (
        {"environment": {"entryPoint": "slow:make", "kwargs": {"seconds": 0.02}}},
        r"x trains at .*; rollouts are the bottleneck: the learner waits \d+ % .* stepping environments",
        "rljob scale x --replicas 2",
    ),
    "quota": ({}, r"x is not training: .*exceeded quota", "ResourceQuota"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_cause_is_named(namespace: Namespace, name: str) -> None:
    changes, verdict, tries = BROKEN[name]
    if name == "quota":
        namespace.run("create", "quota", "small", "--hard=pods=1")
    namespace.apply(endless(**changes))
    said = ""

    def explained() -> bool:
        nonlocal said
        done = namespace.rljob("explain", "x")
        said = done.stdout + done.stderr
        return bool(re.search(verdict, said.splitlines()[0])) and tries in said

    until(explained, lambda: said)
