"""The roles of a job, each in a network namespace of its own, as pods are."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from rljob.errors import INTERRUPTED
from rljob.kube.names import METRICS_PORT
from rljob.wire.keygen import generate
from tests.faults.network import Network, network
from tests.faults.runs import Run

BUFFER, LEARNER, ROLLOUTS = "buffer", "learner", "rollouts"
SPACES = (BUFFER, LEARNER, ROLLOUTS)
_PORT = 7400


class Spread(Run):
    """Roles in `SPACES`. Nothing starts a role again: a role that ends fails the test."""

    interrupted = INTERRUPTED

    def __init__(self, folder: Path, net: Network) -> None:
        self.net = net
        self.roles: dict[str, subprocess.Popen[bytes]] = {}
        self.folder, self.trace = folder / "run", folder / "trace"
        self.output = self.folder / "logs" / "learner-0.log"
        (self.folder / "logs").mkdir(parents=True)
        self.trace.mkdir()

    def start(self, space: str, role: str, index: int, *arguments: str) -> None:
        name = f"{role}-{index}"
        command = [sys.executable, "-m", "rljob", "role", role, "--index", str(index)]
        command += ["--name", name, "--trace", str(self.trace), *arguments]
        with (self.folder / "logs" / f"{name}.log").open("wb") as log:
            self.roles[name] = subprocess.Popen(
                self.net.inside(space, command), stdout=log, stderr=log, cwd=self.folder
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:  # type: ignore[override]
        """The first role that has ended, else the learner."""
        ended = (process for process in self.roles.values() if process.poll() is not None)
        return next(ended, self.roles["learner-0"])

    def stop(self) -> int:
        """Ask all roles to end, the learner first; returns its exit code."""
        learner = self.roles["learner-0"]
        learner.send_signal(signal.SIGTERM)
        code = learner.wait(60)
        for process in self.roles.values():
            process.send_signal(signal.SIGTERM)
        for process in self.roles.values():
            process.wait(60)
        return code

    def end(self) -> None:
        for process in self.roles.values():
            if process.poll() is None:
                process.kill()
            process.wait()


@contextmanager
def spread(
    folder: Path, content: dict[str, Any], replicas: int = 2, versions: Sequence[int] = (4,)
) -> Iterator[Spread]:
    """Start all roles over encrypted TCP as pods are, which know each other by name, and wait until they train;
    they are ended at the end.

    Args:
        versions: of IP that the network has.
    """
    path, keys = folder / "job.yaml", folder / "keys"
    path.write_text(yaml.safe_dump(content))
    generate(keys)
    with ExitStack() as stack:
        net = stack.enter_context(network(SPACES, versions=versions))
        run = Spread(folder, net)
        stack.callback(run.end)
        common = ["--job", str(path), "--keys", str(keys), "--dir", str(run.folder)]
        common += ["--buffer", f"tcp://{BUFFER}:{_PORT}", "--learner", f"tcp://{LEARNER}:{_PORT}"]
        serving = ["--metrics-host", "*", "--metrics-port", str(METRICS_PORT)]
        run.start(BUFFER, "buffer", 0, *common, "--buffer", f"tcp://*:{_PORT}", *serving)
        own = ["--learner", f"tcp://*:{_PORT}", "--threads", "1", *serving]
        run.start(LEARNER, "learner", 0, *common, *own)
        for index in range(replicas):
            run.start(ROLLOUTS, "rollout", index, *common)
        run.progress()
        yield run
