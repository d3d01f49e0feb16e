"""kubectl on the cluster under test, as a user runs it, and waiting with a deadline."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBECONFIG = Path(os.environ.get("KUBECONFIG") or ROOT / ".cluster" / "kubeconfig")
TOOLS = Path(os.environ.get("RLJOB_CACHE") or Path.home() / ".cache" / "rljob-cluster") / "bin"
PATIENCE = 300.0
"""Seconds until what a test waits for counts as hung."""
POLL = 0.2
Object = dict[str, Any]


class KubectlError(RuntimeError):
    """What kubectl said when it failed."""


def environment() -> dict[str, str]:
    """What kubectl, kind and rljob are started with."""
    path = f"{ROOT / '.venv' / 'bin'}:{TOOLS}:{os.environ['PATH']}"
    return {**os.environ, "KUBECONFIG": str(KUBECONFIG), "PATH": path}


def command(
    *arguments: str, given: str | None = None, timeout: float = PATIENCE
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; its exit code is the caller's to judge."""
    return subprocess.run(
        arguments, input=given, env=environment(), capture_output=True, text=True, timeout=timeout
    )


def kubectl(*arguments: str, given: str | None = None, timeout: float = PATIENCE) -> str:
    """Output of a kubectl command; KubectlError with what it said when it fails."""
    done = command("kubectl", *arguments, given=given, timeout=timeout)
    if done.returncode:
        raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def until(
    reached: Callable[[], Any], what: str | Callable[[], str], patience: float = PATIENCE
) -> Any:
    """Wait for something true and return it; fails naming `what` when it does not come."""
    deadline = time.monotonic() + patience
    while True:
        value = reached()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(
                f"not within {patience:.0f} s: {what if isinstance(what, str) else what()}"
            )
        time.sleep(POLL)


def await_definitions(*arguments: str) -> None:
    """Wait until the CRDs that `kubectl get` finds with these arguments are served.

    `kubectl wait` fails at once where the API server has not yet set their conditions
    (https://github.com/kubernetes/kubernetes/issues/66439).
    """

    def served() -> bool:
        found = json.loads(kubectl("get", *arguments, "-o", "json"))
        conditions = [
            {each["type"]: each["status"] for each in one.get("status", {}).get("conditions") or []}
            for one in found.get("items", [found])
        ]
        return all(each.get("Established") == "True" for each in conditions)

    until(served, f"{' '.join(arguments)} Established")


@dataclass(frozen=True)
class Namespace:
    """A namespace of the test's own."""

    name: str

    def run(self, *arguments: str, given: str | None = None, timeout: float = PATIENCE) -> str:
        """A kubectl command in this namespace."""
        return kubectl("-n", self.name, *arguments, given=given, timeout=timeout)

    def rljob(self, *arguments: str, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """An rljob command in this namespace."""
        return command("rljob", *arguments, "-n", self.name, timeout=timeout)

    def apply(self, *objects: Object) -> None:
        self.run("apply", "-f", "-", given=yaml.safe_dump_all(objects))

    def get(self, kind: str, name: str) -> Object | None:
        """One object, or None."""
        text = self.run("get", kind, name, "--ignore-not-found", "-o", "json")
        return json.loads(text) if text.strip() else None

    def all(self, kinds: str, selector: str = "") -> list[Object]:
        """All objects of some kinds, e.g. `pods,jobs`."""
        chosen = ["-l", selector] if selector else []
        found: list[Object] = json.loads(self.run("get", kinds, *chosen, "-o", "json"))["items"]
        return found

    def patch(self, kind: str, name: str, patch: Object) -> None:
        self.run("patch", kind, name, "--type=merge", "-p", json.dumps(patch))

    def job(self, name: str) -> Job:
        return Job(self, name)


@dataclass(frozen=True)
class Job:
    """An RLJob on the cluster."""

    namespace: Namespace
    name: str

    def object(self) -> Object:
        found = self.namespace.get("rljob", self.name)
        assert found is not None, f"there is no RLJob {self.name}"
        return found

    def status(self) -> Object:
        return self.object().get("status") or {}

    def steps(self) -> int:
        return int(self.status().get("progress", {}).get("steps", 0))

    def condition(self, kind: str) -> Object:
        """A condition; empty when it is not there."""
        conditions = self.status().get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {})

    def pods(self, role: str | None = None, alive: bool = False) -> list[Object]:
        """Pods of a role, or all; `alive`: only those that are not ending and have not ended."""
        selector = f"rljob.dev/job-name={self.name}"
        if role is not None:
            selector += f",rljob.dev/role={role}"
        found = self.namespace.all("pods", selector)
        if alive:
            found = [
                pod
                for pod in found
                if pod["status"].get("phase") not in ("Succeeded", "Failed")
                and "deletionTimestamp" not in pod["metadata"]
            ]
        return found

    def pod(self, role: str) -> Object:
        """The one living pod of a role, once it is there."""
        pod: Object = until(
            lambda: next(iter(self.pods(role, alive=True)), None), f"a pod of {role}"
        )
        return pod

    def ready(self, role: str) -> int:
        """Ready pods of a role."""
        conditions = [
            condition
            for pod in self.pods(role, alive=True)
            for condition in pod["status"].get("conditions", [])
        ]
        return sum(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def until(
        self, reached: Callable[[Object], Any], what: str, patience: float = PATIENCE
    ) -> Object:
        """Wait until the status is as wanted; returns it."""
        last: Object = {}

        def look() -> bool:
            last.clear()
            last.update(self.status())
            return bool(reached(last))

        until(look, lambda: f"{what}; the status is {json.dumps(last, indent=1)}", patience)
        return last

    def until_phase(self, phase: str, patience: float = PATIENCE) -> Object:
        return self.until(lambda status: status.get("phase") == phase, f"phase {phase}", patience)

    def until_trains(self, beyond: int = 0, patience: float = PATIENCE) -> int:
        """Wait until more steps are done than `beyond`; returns how many."""
        status = self.until(
            lambda status: status.get("progress", {}).get("steps", 0) > beyond,
            f"training beyond step {beyond}",
            patience,
        )
        return int(status["progress"]["steps"])

    def wait(self, condition: str, patience: float = PATIENCE) -> None:
        """As a user waits."""
        self.namespace.run(
            "wait",
            f"--for=condition={condition}",
            f"rlj/{self.name}",
            f"--timeout={patience:.0f}s",
            timeout=patience + 10,
        )

    def events(self) -> list[Object]:
        """Events about the RLJob itself."""
        selector = f"involvedObject.kind=RLJob,involvedObject.name={self.name}"
        text = self.namespace.run("get", "events", "--field-selector", selector, "-o", "json")
        found: list[Object] = json.loads(text)["items"]
        return found

    def reasons(self) -> set[str]:
        """Reasons of the events about the RLJob."""
        return {event["reason"] for event in self.events()}


def owned(job: Job, kinds: Sequence[str]) -> list[str]:
    """Names of what is left of a job, e.g. `Deployment/x-rollout`."""
    found = job.namespace.all(",".join(kinds), f"rljob.dev/job-name={job.name}")
    return [f"{item['kind']}/{item['metadata']['name']}" for item in found]
