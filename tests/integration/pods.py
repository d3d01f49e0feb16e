"""Roles of one job as processes that are started one by one, each told what its pod would be told."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rljob.wire.keygen import generate
from tests.ports import free_port

PATIENCE = 120.0
"""Seconds until what a test waits for counts as hung."""
PPO: dict[str, Any] = {"name": "PPO", "config": {"rolloutLength": 16, "epochs": 2}}
ENDLESS: dict[str, Any] = {"duration": "1h"}
TOKEN = "of-the-tests"
"""Of the state pages of every role."""


def until(reached: Callable[[], Any], what: Callable[[], str] | str = "") -> None:
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.02)


@dataclass
class Pod:
    """One life of a role.

    Attributes:
        port: of metrics and state.
        loopback: of all pages, for a port-forward.
    """

    name: str
    folder: Path
    process: subprocess.Popen[bytes]
    port: int
    loopback: int
    log: Path
    end_file: Path

    def ask(self, path: str, port: int | None = None, token: str = TOKEN) -> tuple[int, bytes]:
        """Status and body of a GET; (0, b"") while nobody listens."""
        try:
            url = f"http://127.0.0.1:{port or self.port}{path}"
            request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError:
            return 0, b""

    def ready(self) -> bool:
        return self.ask("/readyz")[0] == 200

    def status(self) -> dict[str, Any]:
        """The learner's report; empty while it has none."""
        code, body = self.ask("/status")
        return dict(json.loads(body)) if code == 200 else {}

    def steps(self) -> int:
        return int(self.status().get("progress", {}).get("steps", 0))

    def metric(self, name: str) -> float:
        """A metric of the role; 0 while nobody listens."""
        lines = self.ask("/metrics")[1].decode().splitlines()
        found = [line for line in lines if line.startswith(f"rljob_{name} ")]
        return float(found[0].split()[-1]) if found else 0.0

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end, or kill it; returns its exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end: {self.tell()}") from None

    def ended(self) -> dict[str, Any]:
        """What the end file says."""
        return dict(json.loads(self.end_file.read_text()))

    def alive(self) -> bool:
        return self.process.poll() is None

    def tell(self) -> str:
        text = self.log.read_text(errors="replace")
        return f"--- {self.name} ({self.process.poll()})\n{text[-3000:]}"


@dataclass
class Job:
    """A job and the pods that were started for it.

    Attributes:
        buffer, learner: where clients look for the two.
        binds: where the next buffer and learner listen, if that is another address.
    """

    folder: Path
    content: dict[str, Any]
    pods: list[Pod] = field(default_factory=list)
    buffer: str = ""
    learner: str = ""
    binds: dict[str, str] = field(default_factory=dict)
    lives: int = 0

    def __post_init__(self) -> None:
        generate(self.folder / "keys")
        self.buffer = f"tcp://127.0.0.1:{free_port()}"
        self.learner = f"tcp://127.0.0.1:{free_port()}"

    def start(
        self,
        role: str,
        name: str = "",
        *options: str,
        folder: Path | None = None,
        prefix: tuple[str, ...] = (),
        variables: dict[str, str] | None = None,
        **spec: Any,
    ) -> Pod:
        """Start a role.

        Args:
            name: the pod's; ROLE-0 by default.
            folder: its /var/lib/rljob; one for each name by default.
            prefix: command that starts it, as `setpriv …`.
            variables: of its environment; ours by default.
            spec: sections of the job that only this pod's job.yaml has.
        """
        self.lives += 1
        name = name or f"x-{role}-0"
        made = self.folder / f"{name}.{self.lives}"
        made.mkdir()
        content = {**self.content, "spec": {**self.content["spec"], **spec}}
        (made / "job.yaml").write_text(yaml.safe_dump(content))
        own = folder or self.folder / name
        own.mkdir(exist_ok=True)
        port, loopback = free_port(), free_port()
        command = [*prefix, sys.executable, "-P", "-m", "rljob", "role", role]
        command += ["--name", name, "--job", str(made / "job.yaml"), "--dir", str(own)]
        command += [
            "--buffer",
            self.binds.get("buffer", self.buffer) if role == "buffer" else self.buffer,
        ]
        command += [
            "--learner",
            self.binds.get("learner", self.learner) if role == "learner" else self.learner,
        ]
        command += ["--keys", str(self.folder / "keys"), "--trace", str(self.folder / "trace")]
        command += ["--metrics-port", str(port), "--end-file", str(made / "end")]
        (made / "token").write_text(TOKEN)
        command += ["--token", str(made / "token"), "--loopback-port", str(loopback)]
        command += ["--resume", "--evaluate"] if role == "learner" else []
        log = made / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=made,
                env=variables,
            )
        pod = Pod(name, own, process, port, loopback, log, made / "end")
        self.pods.append(pod)
        return pod

    def trains(self, learner: Pod, more: int = 500) -> None:
        """Wait until it has trained on more steps from here."""
        before = learner.steps()
        self.until(lambda: learner.steps() >= before + more, f"{more} more steps")

    def until(self, reached: Callable[[], Any], what: str = "") -> None:
        until(reached, lambda: f"{what} did not happen\n" + self.tell())

    def tell(self) -> str:
        return "\n".join(pod.tell() for pod in self.pods)


@contextmanager
def running(folder: Path, **spec: Any) -> Iterator[Job]:
    """A job of CartPole; what is left of it at the end is killed."""
    content = {
        "metadata": {"name": "x"},
        "spec": {
            "environment": {"id": "CartPole-v1"},
            "algorithm": PPO,
            "stop": ENDLESS,
            "seed": 1,
            "rollout": {"replicas": 1, "envsPerReplica": 8},
            "checkpoint": {"interval": "1s"},
            **spec,
        },
    }
    job = Job(folder, content)
    try:
        yield job
    finally:
        for pod in job.pods:
            with contextlib.suppress(ProcessLookupError):
                pod.process.kill()
            pod.process.wait()


ENTER = """\
set -eu
folder=$1
shift
mount --bind "$folder" "$folder"
mount --bind "$folder/hosts" /etc/hosts
mount -o remount,ro,bind /
exec unshare --user --map-user=65532 --map-group=65532 setpriv --no-new-privs "$@"
"""


class Container:
    """What a pod's container is to a process: it has number 1, a user without a name, nothing that can
    be written but `folder`, and names of other hosts that change.

    Args:
        folder: with everything that its roles need, `tmp` as their home.
    """

    def __init__(self, folder: Path) -> None:
        self._hosts = folder / "hosts"
        self._hosts.touch()
        (folder / "tmp").mkdir()
        script = folder / "enter"
        script.write_text(ENTER)
        namespaces = ("--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc")
        self.prefix = ("unshare", *namespaces, "--kill-child", "sh", str(script), str(folder))
        kept = ("PATH", "PYTHONPATH", "OMP_NUM_THREADS")
        self.variables = {name: os.environ[name] for name in kept if name in os.environ}
        self.variables |= {"HOME": str(folder / "tmp"), "TMPDIR": str(folder / "tmp")}

    def refused(self) -> str:
        """Why there can be none here; empty when there can."""
        try:
            command = [*self.prefix, "true"]
            return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE).stderr
        except FileNotFoundError as error:
            return str(error)

    def resolve(self, **hosts: str) -> None:
        """Names, with `_` for `-`, and their addresses from now on."""
        lines = [f"{address} {name.replace('_', '-')}\n" for name, address in hosts.items()]
        self._hosts.write_text("".join(lines))


def end_inside(pod: Pod, number: int = signal.SIGTERM) -> int:
    """As the kubelet does: signal the process that has number 1 in its container."""
    children = Path(f"/proc/{pod.process.pid}/task/{pod.process.pid}/children")
    os.kill(int(children.read_text()), number)
    return pod.wait()
