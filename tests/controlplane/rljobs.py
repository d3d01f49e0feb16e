"""RLJobs on an API server without controllers: the test makes the pods and says how they are."""

from __future__ import annotations

import contextlib
import copy
import http.server
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rljob import spec
from rljob.kube import names
from rljob.kube.kinds import BY_NAME, CHILDREN, JOB, POD, Manifest, ResourceKind
from rljob.kube.manifests import Owner, build, told_replicas
from rljob.kube.settings import OperatorSettings
from tests.apiserver import ApiServer

MERGE = "application/merge-patch+json"
LEARNER, ROLLOUT, BUFFER = (
    ("Job", "x-learner"),
    ("Deployment", "x-rollout"),
    ("StatefulSet", "x-buffer"),
)
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
ADDRESS, NOBODY = f"127.0.{_WORKER}.53", f"127.0.{_WORKER}.54"
"""Of pods that answer, on the port that they all have, and of those that do not.

Each test process has its own addresses, because the port is fixed.
"""
BEGAN = "2026-01-01T00:00:00Z"
SPEC = {
    "environment": {"id": "CartPole-v1"},
    "algorithm": {"name": "PPO"},
    "stop": {"steps": 1000},
    "seed": 0,
    "rollout": {"replicas": 2},
}


@dataclass(frozen=True)
class Job:
    """One RLJob, by its name; it may not exist."""

    server: ApiServer
    namespace: str
    name: str = "x"

    def create(self, **changes: Any) -> Manifest:
        """Make it; `changes` replace whole sections of the spec."""
        made = {
            "apiVersion": JOB.api_version,
            "kind": JOB.kind,
            "metadata": {"name": self.name},
            "spec": copy.deepcopy(SPEC) | changes,
        }
        answer = self.server.call("POST", JOB.path(self.namespace), made)
        assert answer.status == 201, answer.body
        return answer.body

    def edit(self, **changes: Any) -> None:
        """Merge into its spec."""
        self.patch(JOB, self.name, {"spec": changes})

    def delete(self) -> None:
        answer = self.server.call("DELETE", JOB.path(self.namespace, self.name))
        assert answer.status == 200, answer.body

    def get(self, kind: ResourceKind = JOB, name: str = "") -> Manifest | None:
        """The job itself, or another object in its namespace; None when there is none."""
        answer = self.server.call("GET", kind.path(self.namespace, name or self.name))
        return answer.body if answer.status == 200 else None

    def status(self) -> dict[str, Any]:
        found = self.get() or {}
        return dict(found.get("status") or {})

    def patch(self, kind: ResourceKind, name: str, change: Manifest, subresource: str = "") -> None:
        path = kind.path(self.namespace, name, subresource)
        answer = self.server.call("PATCH", path, change, MERGE)
        assert answer.status == 200, answer.body

    def children(self) -> dict[tuple[str, str], Manifest]:
        """All that has its label, but pods."""
        selector = f"?labelSelector={names.JOB_NAME_LABEL}%3D{self.name}"
        return {
            (kind.kind, one["metadata"]["name"]): {
                **one,
                "kind": kind.kind,
                "apiVersion": kind.api_version,
            }
            for kind in CHILDREN
            for one in self.server.call("GET", kind.path(self.namespace) + selector).body["items"]
        }

    def wanted(self) -> dict[tuple[str, str], str]:
        """Kind and name of each child that should be there, with its hash."""
        job = self.get()
        assert job is not None
        metadata = job["metadata"]
        owner = Owner(metadata["name"], metadata["namespace"], metadata["uid"])
        told = told_replicas(self.children().values())
        made = build(spec.parse(job), owner, OperatorSettings(), replicas=told)
        return hashes([*made.shared, *made.workloads.values()])

    def complete(self) -> bool:
        """Whether every child is there as it should be, the keys too."""
        keys = self.get(BY_NAME["Secret"], names.keys_secret(self.name))
        return keys is not None and hashes(list(self.children().values())) == self.wanted()

    def events(self) -> list[Manifest]:
        """Those about the job itself."""
        about = f"?fieldSelector=involvedObject.kind%3DRLJob,involvedObject.name%3D{self.name}"
        path = f"/api/v1/namespaces/{self.namespace}/events{about}"
        found: list[Manifest] = self.server.call("GET", path).body["items"]
        return found

    def learner_pod(self, status: Manifest, name: str = "x-learner-abcde") -> None:
        """Make the pod of the learner's Job, in this state."""
        self.pod(("Job", f"{self.name}-learner"), status, name)

    def pod(self, workload: tuple[str, str], status: Manifest, name: str) -> None:
        """Make a pod of this child, in this state."""
        owner = self.children()[workload]
        template = copy.deepcopy(owner["spec"]["template"])
        reference = {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "controller": True,
        }
        metadata = {**template["metadata"], "name": name, "ownerReferences": [reference]}
        made = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        answer = self.server.call("POST", POD.path(self.namespace), made)
        assert answer.status == 201, json.dumps(answer.body)
        self.patch(POD, name, {"status": status}, "status")

    def end_learner(self, end: Manifest) -> None:
        """Let the learner reach its end: a pod that is over, with this last message, and its Job."""
        self.learner_pod(_ended(json.dumps(end)))
        conditions = [
            {"type": kind, "status": "True"} for kind in ("SuccessCriteriaMet", "Complete")
        ]
        status = {
            "succeeded": 1,
            "startTime": BEGAN,
            "completionTime": "2026-01-01T00:01:00Z",
            "conditions": conditions,
        }
        self.patch(BY_NAME["Job"], f"{self.name}-learner", {"status": status}, "status")


def hang(job: Job) -> None:
    """Let a job that is complete have pods, of which the rollout's alone does not answer."""
    job.learner_pod(running_at(ADDRESS))
    job.pod(BUFFER, running_at(ADDRESS, "buffer"), "x-buffer-0")
    job.pod(ROLLOUT, running_at(NOBODY, "rollout"), "x-rollout-a")


class _Role(http.server.BaseHTTPRequestHandler):
    """The pages of a role that is well, for who has the token.

    Attributes:
        token: None lets everybody in.
        saved: policy version of a learner's newest checkpoint.
    """

    steps = 0
    saved = 0
    keys: dict[str, int] | None = None
    token: str | None = None

    def do_GET(self) -> None:
        if self.token is not None and self.headers["Authorization"] != f"Bearer {self.token}":
            self.send_error(401)
            return
        checkpoint = {"step": self.saved, "policyVersion": self.saved, "time": BEGAN}
        checkpoint |= {"path": "c", "sha256": "0" * 64}
        pages = {
            "/status": {"progress": {"steps": self.steps}, "lastCheckpoint": checkpoint},
            "/state": {"role": "learner", "name": "x", "doing": "data", "keys": self.keys},
        }
        body = json.dumps(pages[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def answering() -> Iterator[type[_Role]]:
    """A role that is well, at `ADDRESS`; its `steps`, `saved`, `keys` and `token` may be set."""
    role = type("Role", (_Role,), {})
    with http.server.ThreadingHTTPServer((ADDRESS, names.STATE_PORT), role) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield role
        server.shutdown()
        thread.join()


def hashes(manifests: list[Manifest]) -> dict[tuple[str, str], str]:
    """Kind and name to the hash that is written on it."""
    return {
        (one["kind"], one["metadata"]["name"]): (one["metadata"].get("annotations") or {}).get(
            names.HASH_ANNOTATION, ""
        )
        for one in manifests
    }


def running_at(address: str, role: str = "learner") -> Manifest:
    """Status of a pod that runs."""
    container = {
        "name": role,
        "ready": True,
        "started": True,
        "restartCount": 0,
        "image": "i",
        "imageID": "i@sha256:0",
        "state": {"running": {"startedAt": BEGAN}},
    }
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": BEGAN,
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [container],
    }


def _ended(message: str) -> Manifest:
    ended = {
        "exitCode": 0,
        "reason": "Completed",
        "message": message,
        "startedAt": BEGAN,
        "finishedAt": "2026-01-01T00:01:00Z",
    }
    container = {
        "name": "learner",
        "ready": False,
        "restartCount": 0,
        "image": "i",
        "imageID": "i@sha256:0",
        "state": {"terminated": ended},
    }
    return {"phase": "Succeeded", "conditions": [], "containerStatuses": [container]}
