"""A training run as a process of its own, whose roles can be killed and frozen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

PATIENCE = 180.0
"""Seconds until what a test waits for counts as hung."""


def job(algorithm: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """CartPole without an end: the test ends it."""
    return {
        "metadata": {"name": "faults"},
        "spec": {
            "environment": {"id": "CartPole-v1"},
            "algorithm": algorithm,
            "stop": {"duration": "1h"},
            "seed": 1,
            "rollout": {"replicas": 2, "envsPerReplica": 8},
            "checkpoint": {"interval": "1s"},
            **spec,
        },
    }


@dataclass
class Run:
    """A running `rljob run`."""

    interrupted: ClassVar[int] = 128 + signal.SIGTERM
    """Its exit code after SIGTERM."""

    process: subprocess.Popen[bytes]
    folder: Path
    trace: Path
    output: Path

    def pid(self, role: str) -> int:
        """The process of the newest life of a role, e.g. `rollout-0`."""
        files = self.trace.glob(f"{role}.*.trace")
        newest = max(files, key=lambda path: path.stat().st_ctime_ns, default=None)
        return int(newest.name.split(".")[1]) if newest is not None else 0

    def records(self) -> list[dict[str, Any]]:
        path = self.folder / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        records = []
        for line in lines:
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                # A killed learner may leave half a line.
                continue
        return records

    def until(
        self,
        reached: Callable[[], bool],
        what: str,
        patience: float = PATIENCE,
        every: float = 0.02,
    ) -> None:
        """Wait for something to happen; fails with the run's output when it does not."""
        deadline = time.monotonic() + patience
        while not reached():
            assert self.process.poll() is None, f"the run ended: {self.tell()}"
            assert time.monotonic() < deadline, f"{what} did not happen: {self.tell()}"
            time.sleep(every)

    def progress(self, updates: int = 20) -> None:
        """Wait until training has gone on from here by so many updates."""
        before = time.time()

        def gone_on() -> bool:
            since = [r for r in self.records() if r["time"] > before]
            return bool(since) and since[-1]["updates"] - since[0]["updates"] >= updates

        self.until(gone_on, f"{updates} more updates")

    def kill(self, *roles: str) -> None:
        """SIGKILL the present lives of roles, and wait for the next ones."""
        pids = {role: self.pid(role) for role in roles}
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        for role, pid in pids.items():
            self.until(lambda role=role, pid=pid: self.pid(role) != pid, f"a new {role}")

    def freeze(self, role: str, seconds: float) -> None:
        """SIGSTOP a role for some time; it must be the same process afterwards."""
        pid = self.pid(role)
        os.kill(pid, signal.SIGSTOP)
        try:
            deadline = time.monotonic() + seconds
            while (left := deadline - time.monotonic()) > 0:
                time.sleep(left)
        finally:
            os.kill(pid, signal.SIGCONT)
        self.progress()
        assert self.pid(role) == pid, f"{role} was replaced: {self.tell()}"

    def stop(self) -> int:
        """End it as `kubectl delete` would; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def tell(self) -> str:
        """The end of what the run and its roles said."""
        logs = sorted((self.folder / "logs").glob("*.log"))
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text().splitlines()[-12:])
            for path in [self.output, *logs]
        )


@contextmanager
def running(folder: Path, content: dict[str, Any], *options: str) -> Iterator[Run]:
    """Start `rljob run` and wait until it trains; what is left of it at the end is killed."""
    path, output = folder / "job.yaml", folder / "output"
    path.write_text(yaml.safe_dump(content))
    run_folder, trace = folder / "run", folder / "trace"
    command = [sys.executable, "-m", "rljob", "run", str(path), "--plain"]
    command += ["--dir", str(run_folder), "--trace", str(trace), *options]
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=folder)
    run = Run(process, run_folder, trace, output)
    try:
        run.progress()
        yield run
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
