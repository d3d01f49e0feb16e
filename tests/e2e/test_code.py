"""A user's own code: in an image, in a ConfigMap, as pip requirement; and keys that do not fit."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from typing import Any

import yaml

from tests.e2e.jobs import SLOW, endless
from tests.e2e.kube import ROOT, Namespace, Object, until


def test_custom_image(namespace: Namespace) -> None:
    """The image of `examples/image`, with an environment of its own."""
    file = next((ROOT / "examples" / "image").glob("*.yaml"))
    job_object = yaml.safe_load(file.read_text())
    namespace.apply(job_object)
    job = namespace.job(job_object["metadata"]["name"])
    job.until_trains()


def test_own_network_and_algorithm_from_a_configmap(namespace: Namespace) -> None:
    """`examples/custom` through spec.code: environment, network and algorithm by import path."""
    folder = ROOT / "examples" / "custom"
    job_object = yaml.safe_load((folder / "job.yaml").read_text())
    job_object["spec"]["code"] = {
        file.name: file.read_text() for file in folder.glob("*.py") if file.name != "run.py"
    }
    job_object["spec"]["stop"] = {"steps": 4000}
    namespace.apply(job_object)
    namespace.job(job_object["metadata"]["name"]).wait("Complete")


def test_pip_requirement(namespace: Namespace) -> None:
    """`spec.requirements` brings a package from an index into every pod."""
    worker = worker_image(namespace)
    namespace.apply(*index(worker))
    pip = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "http://wheels:8000/",
        "PIP_TRUSTED_HOST": "wheels",
    }
    env = [{"name": name, "value": value} for name, value in pip.items()]
    roles: dict[str, Any] = {"rollout": {"replicas": 1, "envsPerReplica": 4}}
    for role in ("rollout", "buffer", "learner"):
        containers = [{"name": role, "env": env}]
        roles.setdefault(role, {})["template"] = {"spec": {"containers": containers}}
    job_object = endless(
        requirements=["tiny-envs==1.0"], environment={"entryPoint": "tiny_envs:make"}, **roles
    )
    del job_object["spec"]["code"]
    namespace.apply(job_object)
    namespace.job("x").until_trains()


def test_wrong_key_is_refused(namespace: Namespace) -> None:
    """A rollout with another job's keys never gets ready; the same pod with the right ones does."""
    namespace.apply(endless(), endless("other", suspend=False, stop={"steps": 50}))
    job = namespace.job("x")
    job.until_trains()
    namespace.job("other").until(lambda s: s.get("phase"), "keys of another job")
    pod = job.pod("rollout")
    namespace.apply(copy_of(pod, "intruder", "other-keys"))
    until(lambda: container_of(namespace, "intruder").get("started"), "the intruder has started")
    namespace.apply(copy_of(pod, "welcome", "x-keys"))
    until(lambda: container_of(namespace, "welcome").get("ready"), "the other one is ready")
    # It had more time than the other one, which has started later: it is not just slow.
    assert not container_of(namespace, "intruder")["ready"]
    assert container_of(namespace, "intruder")["restartCount"] == 0
    job.until_trains(job.steps())


def container_of(namespace: Namespace, pod: str) -> Object:
    """Status of the pod's container; empty before it has one."""
    found = namespace.get("pod", pod)
    assert found is not None
    statuses: list[Object] = found["status"].get("containerStatuses", [])
    return statuses[0] if statuses else {}


def copy_of(pod: Object, name: str, keys: str) -> Object:
    """A pod like this one that nobody owns, with the keys of some job."""
    text = json.dumps(pod["spec"]).replace('"x-keys"', f'"{keys}"')
    spec = json.loads(text)
    spec.pop("nodeName")
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def worker_image(namespace: Namespace) -> str:
    """The image that the operator gives to workers."""
    done = namespace.rljob("render", str(ROOT / "examples" / "cartpole-ppo.yaml"))
    assert done.returncode == 0, done.stderr
    objects = list(yaml.safe_load_all(done.stdout))
    rollout = next(
        o
        for o in objects
        if o and o["metadata"]["name"].endswith("-rollout") and o["kind"] == "Deployment"
    )
    image: str = rollout["spec"]["template"]["spec"]["containers"][0]["image"]
    return image


def index(image: str) -> list[Object]:
    """A pod that serves one wheel, and its Service."""
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "wheels"},
        "binaryData": {"tiny_envs-1.0-py3-none-any.whl": base64.b64encode(wheel()).decode()},
    }
    restricted = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "http",
        "image": image,
        "command": ["python", "-m", "http.server", "8000", "-d", "/wheels"],
        "securityContext": restricted,
        "volumeMounts": [{"name": "wheels", "mountPath": "/wheels"}],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "wheels", "labels": {"app": "wheels"}},
        "spec": {
            "containers": [container],
            "volumes": [{"name": "wheels", "configMap": {"name": "wheels"}}],
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "wheels"},
        "spec": {"selector": {"app": "wheels"}, "ports": [{"port": 8000}]},
    }
    return [config, pod, service]


def wheel() -> bytes:
    """A package with an environment, as pip installs it."""
    info = "tiny_envs-1.0.dist-info"
    files = {
        "tiny_envs.py": SLOW,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny-envs\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return made.getvalue()
