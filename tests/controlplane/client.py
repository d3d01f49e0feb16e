"""`rljob` as its tests call it, and the operator's part that they play."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rljob.cli.main import main
from tests.apiserver import ApiServer
from tests.controlplane import jobs
from tests.unit.clusterjobs import condition
from tests.unit.specs import Job, job

PATIENCE = 120.0
"""Seconds until what a test waits for counts as hung."""
FILE = """\
# A job.
metadata:
  name: test
spec:
  environment: {id: CartPole-v1}
  algorithm:
    name: PPO
  stop:
    steps: 1000
"""


COMPLETE = [condition("Complete", "True", "MeanReturnReached")]
FAILED = [condition("Failed", "True", "BackoffLimitExceeded", "it failed 4 times")]


class Client:
    """`rljob` as the admin of one namespace."""

    def __init__(self, server: ApiServer, namespace: str, capsys: Any, kubeconfig: Path) -> None:
        self.server, self.namespace = server, namespace
        self._capsys, self.kubeconfig = capsys, kubeconfig

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, output and errors of a command in this process."""
        code = main(self.whole(arguments))
        out, err = self._capsys.readouterr()
        return code, out, err

    def whole(self, arguments: Sequence[str]) -> list[str]:
        return [*arguments, "-n", self.namespace, "--kubeconfig", str(self.kubeconfig)]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The same in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "rljob", *self.whole(arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def create(self, content: Job | None = None) -> Job:
        return jobs.create(self.server, content or job(), self.namespace)

    def get(self, name: str = "test") -> Job | None:
        answer = self.server.call("GET", jobs.path_of(self.namespace, name))
        return answer.body if answer.status == 200 else None

    def status(self, status: dict[str, Any], name: str = "test") -> None:
        answer = jobs.update_status(self.server, self.namespace, status, name)
        assert answer.status == 200, answer.body

    def event(self, message: str, kind: str = "Normal", name: str = "test") -> None:
        found = self.get(name)
        assert found is not None
        about = {"kind": "RLJob", "namespace": self.namespace, "name": name}
        body = {
            "metadata": {"generateName": f"{name}."},
            "involvedObject": {**about, "uid": found["metadata"]["uid"]},
            "reason": "Noticed",
            "message": message,
            "type": kind,
            "lastTimestamp": found["metadata"]["creationTimestamp"],
        }
        path = f"/api/v1/namespaces/{self.namespace}/events"
        assert self.server.call("POST", path, body).status == 201


def until(reached: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (value := reached()):
        assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(0.05)
    return value


def lines_of(process: subprocess.Popen[str], *marks: str) -> str:
    """Output up to the line with which all marks have come."""
    assert process.stdout is not None
    found = ""
    for line in process.stdout:
        found += line
        if all(mark in found for mark in marks):
            return found
    raise AssertionError(f"not all of {marks} in {found!r}; {process.communicate()[1]}")


def rest_of(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Output after `lines_of`, and errors, once the process has ended.

    `communicate` alone would miss the lines that `lines_of` has read ahead.
    """
    assert process.stdout is not None
    out = process.stdout.read()
    return out, process.communicate(timeout=PATIENCE)[1]


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.communicate()
