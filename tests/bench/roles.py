"""Roles of a job as processes started by hand, for what `rljob run` does not offer: parts of the path."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rljob.wire.keygen import generate
from tests.bench.machine import cpu_seconds, resident_mib

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds after which a measurement counts as hung."""
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""Of every process that is measured: what the benchmarks name is found, libraries use one thread, and
modules are compiled once, as for a user."""


def job(
    algorithm: dict[str, Any], *, envs: int, seconds: float, seed: int, capacity: int = 1_000_000
) -> dict[str, Any]:
    """A job on CartPole that ends after so many seconds of training."""
    return {
        "metadata": {"name": "bench"},
        "spec": {
            "environment": {"id": "CartPole-v1"},
            "algorithm": algorithm,
            "stop": {"duration": f"{seconds}s"},
            "seed": seed,
            "rollout": {"replicas": 1, "envsPerReplica": envs},
            "buffer": {"capacity": capacity},
        },
    }


@dataclass
class Roles:
    """Processes of one job; `ended` once the learner has reached the stop condition."""

    folder: Path
    transport: str
    encrypted: bool
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.transport == "ipc":
            self.buffer, self.learner = (f"ipc://{self.folder}/{n}" for n in ("b", "l"))
        else:
            self.buffer, self.learner = (f"tcp://127.0.0.1:{port}" for port in _free_ports())
        if self.encrypted:
            generate(self.folder / "keys")

    def arguments(self, role: str, index: int = 0) -> list[str]:
        """The command line after `rljob`."""
        arguments = ["role", role, "--index", str(index), "--dir", str(self.folder / role)]
        arguments += ["--job", str(self.folder / "job.yaml")]
        arguments += ["--buffer", self.buffer, "--learner", self.learner]
        if self.encrypted:
            arguments += ["--keys", str(self.folder / "keys")]
        return arguments

    def start(self, role: str, index: int = 0, prefix: tuple[str, ...] = ()) -> None:
        """Start one replica; `prefix` are options of Python, for example of a profiler."""
        name = role if index == 0 else f"{role}-{index}"
        command = [sys.executable, *prefix, "-m", "rljob", *self.arguments(role, index)]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENVIRONMENT
            )

    def records(self) -> list[dict[str, Any]]:
        """The whole lines of the learner's `metrics.jsonl`, from the first update on."""
        path = self.folder / "learner" / "metrics.jsonl"
        text = path.read_text() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1].splitlines()
        return [record for record in map(json.loads, whole) if record["seconds"] > 0]

    def until(self, least: float, what: str = "seconds") -> None:
        """Wait until training has gone on for so long, or until another of its counts is so high."""
        deadline = time.monotonic() + PATIENCE
        while not (records := self.records()) or records[-1][what] < least:
            self._check(deadline)
            time.sleep(0.05)

    def stages(self, role: str) -> dict[str, float]:
        """Seconds that a role has spent in each of its stages, by its own metrics."""
        log = (self.folder / f"{role}.log").read_text()
        found = re.search(r"metrics at (http://\S+)", log)
        assert found, f"{role} did not say where its metrics are: {log}"
        with urllib.request.urlopen(found[1], timeout=5) as answer:
            text = answer.read().decode()
        pattern = rf'rljob_{role}_stage_seconds_total{{stage="(\w+)"}} (\S+)'
        return {name: float(value) for name, value in re.findall(pattern, text)}

    def cpu(self) -> dict[str, float]:
        """CPU seconds that each role has used."""
        return {name: cpu_seconds(process.pid) for name, process in self.processes.items()}

    def resident(self) -> dict[str, float]:
        """Resident memory of each role in MiB."""
        return {name: resident_mib(process.pid) for name, process in self.processes.items()}

    def pause(self) -> None:
        """Stop every process where it is, all at once, so that others are measured without them."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """End what still runs: rollouts, learner, buffer."""
        self.resume()
        for name in sorted(self.processes, reverse=True):
            if self.processes[name].poll() is None:
                self.processes[name].terminate()
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _signal(self, number: signal.Signals) -> None:
        for process in self.processes.values():
            process.send_signal(number)

    def _check(self, deadline: float) -> None:
        for name, process in self.processes.items():
            assert not process.poll(), f"{name} failed: {self._log(name)}"
        assert time.monotonic() < deadline, f"hung: {[self._log(name) for name in self.processes]}"

    def _log(self, role: str) -> str:
        return (self.folder / f"{role}.log").read_text()[-2000:]


@contextmanager
def roles(
    content: dict[str, Any], transport: str = "ipc", encrypted: bool = False
) -> Iterator[Roles]:
    """A folder with the job, in which roles can be started; ended and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="rljob-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "job.yaml").write_text(yaml.safe_dump(content))
        made = Roles(folder, transport, encrypted)
        try:
            yield made
        finally:
            made.end()


def _free_ports() -> tuple[int, int]:
    """A port whose next one is free as well, and another."""
    for _ in range(100):
        with socket.socket() as one, socket.socket() as next_, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", 0))
                next_.bind(("127.0.0.1", one.getsockname()[1] + 1))
                other.bind(("127.0.0.1", 0))
            except (OSError, OverflowError):
                continue
            return one.getsockname()[1], other.getsockname()[1]
    raise RuntimeError("no two free ports beside each other")
