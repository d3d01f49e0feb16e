"""Real operator processes, and what a test asks of them."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.apiserver import ApiServer
from tests.controlplane.forks import Forked, die_with_parent

ROOT = Path(__file__).parents[2]
NAMESPACE, NAME = "rljob-system", "rljob-operator"
USER = f"system:serviceaccount:{NAMESPACE}:{NAME}"
START_SECONDS = 120.0
DEADLINE_SECONDS = 120.0


def until(condition: Callable[[], object], what: str, seconds: float = DEADLINE_SECONDS) -> None:
    """Wait until it holds; fails, naming it, when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


@functools.cache
def install(server: ApiServer) -> Path:
    """Install the manifests as a user would, once; the kubeconfig of the operator's ServiceAccount."""
    done = server.kubectl("apply", "-f", str(ROOT / "operator" / "manifests"))
    assert done.returncode == 0, done.stderr
    return server.service_account(NAMESPACE, NAME)


Process = subprocess.Popen[bytes] | Forked
Start = Callable[[Sequence[str], Path], Process]
"""Starts an operator with a command line, its output appended to a file."""


def start_anew(arguments: Sequence[str], log: Path) -> Process:
    """A process as in a pod."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "rljob_operator", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env={**os.environ, "PYTHONWARNINGS": "default"},
            preexec_fn=die_with_parent,
        )


class Operator:
    """One process; see `running`."""

    def __init__(self, kubeconfig: Path, log: Path, options: Sequence[str], start: Start) -> None:
        self.log = log
        self._skip = log.stat().st_size if log.exists() else 0
        key = kubeconfig.parent / "state.key"
        if not key.exists():
            key.write_bytes(b"of the tests")
        common = ("--host=127.0.0.1", "--port=0", f"--lease-namespace={NAMESPACE}")
        common += (f"--state-key-file={key}",)
        self.process = start([f"--kubeconfig={kubeconfig}", *common, *options], log)

    @property
    def port(self) -> int:
        """Where it serves; 0 as long as it does not."""
        started = [line for line in self.lines() if line["message"] == "started"]
        return int(started[0]["port"]) if started else 0

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of one of its pages; (0, "") when it does not answer."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}{path}", timeout=30
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def until_ready(self) -> Operator:
        """Wait until all its watches have told of everything."""

        def ready() -> bool:
            assert self.process.poll() is None, self.text()
            return self.get("/readyz")[0] == 200

        until(ready, "the operator is ready", START_SECONDS)
        return self

    def metric(self, name: str, **labels: str) -> float:
        """The value of one series; 0 when there is none."""
        inner = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        series = f"rljob_operator_{name}" + (f"{{{inner}}}" if inner else "")
        for line in self.get("/metrics")[1].splitlines():
            found, _, value = line.rpartition(" ")
            if found == series:
                return float(value)
        return 0.0

    def leads(self) -> bool:
        return self.metric("leader") == 1.0

    def text(self) -> str:
        """Its log; one that it appends to may hold others before."""
        with self.log.open() as log:
            log.seek(self._skip)
            return log.read()

    def lines(self) -> list[dict[str, Any]]:
        """Its log, which has to be JSON; the last line may be in the making."""
        return [
            json.loads(line) for line in self.text().splitlines(keepends=True) if line[-1] == "\n"
        ]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end, as the kubelet does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_SECONDS)


@contextlib.contextmanager
def running(
    kubeconfig: Path, log: Path, *options: str, start: Start = start_anew
) -> Iterator[Operator]:
    """An operator that may still be starting; nothing that it does may be worth a warning of Python's.

    It is killed at the end of the `with`.
    """
    operator = Operator(kubeconfig, log, options, start)
    try:
        yield operator
    finally:
        if operator.process.poll() is None:
            operator.kill()
    warned = [line["message"] for line in operator.lines() if line["logger"] == "py.warnings"]
    # TLS takes a moment to end, which a process that ends does not wait for.
    assert [text for text in warned if "unclosed transport" not in text] == []
