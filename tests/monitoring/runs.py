"""Local runs that Prometheus scrapes, and what is done to their processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from rljob.run_folder.json_files import read_lines
from tests.controlplane.forks import die_with_parent
from tests.monitoring.prometheus import until

# Jobs that must not crowd each other out on two cores.
SLOW = '''
import os
import pathlib
import time

import gymnasium
from rljob.algorithms.built_in.dqn import DQN

POISON = pathlib.Path("poison")
MARK = 77.0


class Slow(gymnasium.Wrapper):
    """CartPole that takes its time, and marks one reward when a file appears."""

    def step(self, action):
        time.sleep(0.003)
        observation, reward, *rest = super().step(action)
        if POISON.exists():
            POISON.unlink()
            reward = MARK
        return observation, reward, *rest


def make():
    return Slow(gymnasium.make("CartPole-v1"))


class MortalDQN(DQN):
    """Its learner ends its process at the mark."""

    def learner(self, network, seed):
        made = super().learner(network, seed)
        update = made.update

        def fatal(batch, progress):
            if (batch["reward"] == MARK).any():
                os._exit(7)
            return update(batch, progress)

        made.update = fatal
        return made
'''
PATIENCE = 180.0


def job(name: str, **spec: Any) -> dict[str, Any]:
    """PPO that trains until it is stopped."""
    return {
        "metadata": {"name": name},
        "spec": {
            "environment": {"entryPoint": "slow:make"},
            "algorithm": {"name": "PPO", "config": {"rolloutLength": 16}},
            "stop": {"duration": "1h"},
            "seed": 1,
            "rollout": {"replicas": 1, "envsPerReplica": 4},
            "checkpoint": {"interval": "1s"},
            **spec,
        },
    }


class Run:
    """One `rljob run` and its processes.

    Attributes:
        folder: where everything of it is; the run's own folder is `run` in it.
        targets: file that names its roles to Prometheus.
    """

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        self.folder, self.run = folder, folder / "run"
        self.targets = self.run / "targets.json"
        self.name = content["metadata"]["name"]
        folder.mkdir()
        (folder / "slow.py").write_text(SLOW)
        (folder / "job.yaml").write_text(yaml.safe_dump(content))
        # Short: the path of a socket has to fit.
        self._temporary = Path(tempfile.mkdtemp(prefix="rm-"))
        name, value = "RLJOB_MONITORED", str(folder)
        # To its end: another run's folder may begin like this one.
        self._mark = f"{name}={value}\0".encode()
        self.environment = {**os.environ, name: value, "TMPDIR": str(self._temporary)}
        self._output = (folder / "output").open("wb")
        self.process = self.start("run", "job.yaml", "--plain", "--dir", "run")

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """An rljob command in the folder, found and killed with the others."""
        return subprocess.Popen(
            [sys.executable, "-m", "rljob", *words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            preexec_fn=die_with_parent,
        )

    def records(self) -> list[dict[str, Any]]:
        """Lines of `metrics.jsonl`; none before the first."""
        path = self.run / "metrics.jsonl"
        return list(read_lines(path)) if path.exists() else []

    def until_trains(self) -> None:
        def trains() -> bool:
            assert self.process.poll() is None, (self.folder / "output").read_text()
            records = self.records()
            return bool(records) and int(records[-1]["updates"]) > 0

        until(trains, lambda: (self.folder / "output").read_text(), PATIENCE)

    def processes(self) -> dict[str, int]:
        """Pid by name of the roles, and of what else runs for this run."""
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and self._mark in (entry / "environ").read_bytes():
                    found[(entry / "comm").read_text().strip()] = int(entry.name)
        return found

    def signal(self, role: str, number: signal.Signals) -> int:
        """Send a role a signal once it runs; returns its pid."""
        pid: int = until(lambda: self.processes().get(role), f"{role} of {self.name}")
        os.kill(pid, number)
        return pid

    def poison(self) -> None:
        """Have an environment give the reward that `MortalDQN` dies of."""
        (self.folder / "poison").touch()

    def visit(self, link: str, times: int) -> None:
        """Connect to a socket of the run, say what no client says, and hang up."""
        path = next(self._temporary.rglob(f"*.{link}"))
        for _ in range(times):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.connect(str(path))
                stranger.sendall(b"\xff" + bytes(8))

    def close(self) -> None:
        """End it at once, frozen processes too."""
        for _ in range(3):
            for pid in self.processes().values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(60)
        self._output.close()
        shutil.rmtree(self._temporary, ignore_errors=True)


@contextlib.contextmanager
def started(folder: Path, *jobs: dict[str, Any]) -> Iterator[dict[str, Run]]:
    """Runs by the names of their jobs, all of them training."""
    with contextlib.ExitStack() as stack:
        runs = {}
        for content in jobs:
            run = Run(folder / content["metadata"]["name"], content)
            stack.callback(run.close)
            runs[run.name] = run
        for run in runs.values():
            run.until_trains()
        yield runs


@contextlib.contextmanager
def by_hand(folder: Path, jobs: Mapping[str, dict[str, Any]]) -> Iterator[None]:
    """One process of each role, started by hand, each with a job file of its own."""
    run, processes, targets = folder / "run", [], []
    run.mkdir(parents=True)
    (folder / "slow.py").write_text(SLOW)
    sockets = Path(tempfile.mkdtemp(prefix="rm-"))
    addresses = [f"--buffer=ipc://{sockets}/buffer", f"--learner=ipc://{sockets}/learner"]
    try:
        for role, content in jobs.items():
            file, log = folder / f"{role}.yaml", folder / f"{role}.log"
            file.write_text(yaml.safe_dump(content))
            with log.open("wb") as output:
                processes.append(
                    subprocess.Popen(
                        [
                            *(sys.executable, "-m", "rljob", "role", role),
                            *(f"--job={file}", f"--dir={run / role}", *addresses),
                        ],
                        cwd=folder,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        preexec_fn=die_with_parent,
                    )
                )
            labels = {"namespace": "local", "rljob": content["metadata"]["name"], "role": role}
            port = until(lambda log=log: _port(log), log.read_text, PATIENCE)
            targets.append({"targets": [f"127.0.0.1:{port}"], "labels": labels})
        (run / "targets.json").write_text(json.dumps(targets))
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait(60)
        shutil.rmtree(sockets)


def _port(log: Path) -> int:
    """Where a role serves its metrics, once its log says so; 0 before."""
    found = re.search(r"metrics at http://[^ ]*:(\d+)/metrics", log.read_text())
    return int(found[1]) if found else 0
