"""`rljob get-policy`, on a real API server; pods serve what a learner and `rljob serve-checkpoint` serve."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rljob import spec
from rljob.checkpoints import checkpoint
from rljob.checkpoints.checkpoint import Snapshot
from rljob.process import downloads
from rljob.telemetry.http_server import serve_pages
from rljob.telemetry.pages import Site
from tests.apiserver import ApiServer
from tests.controlplane import node
from tests.controlplane.client import PATIENCE, Client, ended, until
from tests.controlplane.node import Node
from tests.unit.specs import job


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A learner's folder with one checkpoint."""
    folder = tmp_path / "learner"
    save(folder, 3)
    (folder / "job.yaml").write_text(spec.dump(spec.parse(job())))
    return folder


def save(folder: Path, version: int) -> dict[str, Any]:
    """Save a checkpoint; returns what the status says of it."""
    tensors = {"w": np.arange(6, dtype=np.float32) + version}
    snapshot = Snapshot(version, 0, tensors, tensors, {}, steps=version * 100)
    saved = checkpoint.save(folder / "checkpoints", snapshot, keep=9)
    return {
        "step": saved.steps,
        "policyVersion": version,
        "time": "2026-01-01T00:00:00Z",
        "path": f"checkpoints/{saved.path.name}",
        "sha256": saved.sha256,
        "verified": True,
    }


@contextlib.contextmanager
def serving(run: Path) -> Iterator[int]:
    """What a learner, or `rljob serve-checkpoint`, serves; the port."""
    page = lambda: downloads.checkpoint(run / "checkpoints", run / "job.yaml")  # noqa: E731
    server = serve_pages(Site({"/checkpoint": page}), "127.0.0.1", 0)
    try:
        yield server.port
    finally:
        server.close()


def test_the_policy_comes_from_the_learner(
    rljob: Client, machine: Node, run: Path, tmp_path: Path
) -> None:
    rljob.status({"phase": "Training", "lastCheckpoint": save(run, 4)})
    machine.pod("test-learner-a", "learner")
    out = tmp_path / "policy"
    with serving(run) as port:
        machine.ports["test-learner-a"] = port
        code, text, err = rljob("get-policy", "test", "--out", str(out))
    assert (code, err) == (0, "")
    assert text.startswith(f"Policy version 4 (400 steps) is in {out}; it matches its manifest and")
    assert checkpoint.load_policy(out).version == 4
    assert spec.load(out / "job.yaml").spec.environment.id == "CartPole-v1"
    assert not list(tmp_path.glob(".policy*"))
    assert len(machine.pods()) == 1
    assert rljob("get-policy", "test", "--out", str(out))[2].startswith(
        f"--out {out}: already exists"
    )


def test_the_jobs_own_modules_come_with_it(
    rljob: Client, machine: Node, run: Path, tmp_path: Path
) -> None:
    rljob.create({**job(code={"slow.py": "print(1)\n"}), "metadata": {"name": "own"}})
    machine.pod("own-learner-a", "learner", job="own")
    with serving(run) as port:
        machine.ports["own-learner-a"] = port
        assert rljob("get-policy", "own", "--out", str(tmp_path / "policy"))[0] == 0
    assert (tmp_path / "policy" / "code" / "slow.py").read_text() == "print(1)\n"


def test_a_policy_that_is_another_than_the_status_says_is_refused(
    rljob: Client, machine: Node, run: Path, tmp_path: Path
) -> None:
    saved = save(run, 4)
    rljob.status({"lastCheckpoint": {**saved, "sha256": "0" * 64}})
    machine.pod("test-learner-a", "learner")
    with serving(run) as port:
        machine.ports["test-learner-a"] = port
        code, _, err = rljob("get-policy", "test", "--out", str(tmp_path / "policy"))
    assert code == 1
    assert err.startswith("damaged checkpoint 000000000004: its manifest has sha256 ")
    assert saved["sha256"] in err
    assert not (tmp_path / "policy").exists()
    assert not list(tmp_path.glob(".policy*"))


def test_a_newest_checkpoint_that_is_damaged_is_told(
    rljob: Client, machine: Node, run: Path, tmp_path: Path
) -> None:
    rljob.status({"lastCheckpoint": save(run, 4)})
    (run / "checkpoints" / "000000000004" / "state.json").write_text("{}")
    machine.pod("test-learner-a", "learner")
    with serving(run) as port:
        machine.ports["test-learner-a"] = port
        code, out, err = rljob("get-policy", "test", "--out", str(tmp_path / "policy"))
    assert code == 0
    assert err.startswith(
        "warning: policy version 4, named in the status of test, is not available"
    )
    assert out.startswith("Policy version 3 (300 steps)")


def test_a_policy_that_is_newer_than_the_status_is_taken(
    rljob: Client, machine: Node, run: Path, tmp_path: Path
) -> None:
    rljob.status({"lastCheckpoint": save(run, 4)})
    save(run, 5)
    machine.pod("test-learner-a", "learner")
    with serving(run) as port:
        machine.ports["test-learner-a"] = port
        code, out, err = rljob("get-policy", "test", "--out", str(tmp_path / "policy"))
    assert (code, err) == (0, "")
    assert out.startswith("Policy version 5 (500 steps)")
    assert "it matches its manifest.\n" in out


def test_before_the_first_checkpoint_there_is_nothing(
    rljob: Client, machine: Node, run: Path, tmp_path: Path
) -> None:
    arguments = ("get-policy", "test", "--out", str(tmp_path / "policy"))
    assert rljob(*arguments)[2] == "test has no checkpoint yet; its phase is Pending\n"
    machine.pod("test-learner-a", "learner")
    (run / "checkpoints").rename(run / "elsewhere")
    with serving(run) as port:
        machine.ports["test-learner-a"] = port
        assert rljob(*arguments)[2] == "test has no whole checkpoint yet\n"


@pytest.fixture
def suspended(rljob: Client, machine: Node, run: Path) -> Node:
    """A job whose learner is gone; it has a checkpoint of version 4."""
    rljob.status({"phase": "Suspended", "lastCheckpoint": save(run, 4)})
    return machine


def readers(machine: Node) -> list[str]:
    names = [pod["metadata"]["name"] for pod in machine.pods()]
    return [name for name in names if name.startswith("test-get-policy-")]


@contextlib.contextmanager
def started(machine: Node, state: str = "running") -> Iterator[None]:
    """The node starts each new reader as soon as it is there."""
    stop = threading.Event()
    done = set(readers(machine))

    def look() -> None:
        while not stop.wait(0.05):
            for name in set(readers(machine)) - done:
                done.add(name)
                machine.bind(name)
                machine.set(name, "get-policy", state=state)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_without_a_learner_a_pod_reads_the_checkpoints_and_is_gone_then(
    rljob: Client, suspended: Node, run: Path, tmp_path: Path
) -> None:
    with serving(run) as port, started(suspended):
        suspended.ports["test-get-policy-"] = port
        code, out, err = rljob("get-policy", "test", "--out", str(tmp_path / "policy"))
    assert code == 0, err
    assert out.startswith("Policy version 4")
    assert re.fullmatch(r"starting pod test-get-policy-\w+ to read the checkpoints of test\n", err)
    assert readers(suspended) == []


def test_the_reader_is_admitted_where_pods_are_restricted(
    apiserver: ApiServer, capsys: pytest.CaptureFixture[str], run: Path, tmp_path: Path
) -> None:
    level = "pod-security.kubernetes.io/enforce"
    strict = Client(apiserver, apiserver.namespace({level: "restricted"}), capsys, apiserver.admin)
    strict.create()
    strict.status({"phase": "Suspended", "lastCheckpoint": save(run, 4)})
    with node.running(apiserver, strict.namespace, tmp_path) as machine:
        strict.kubeconfig = machine.kubeconfig
        with serving(run) as port, started(machine):
            machine.ports["test-get-policy-"] = port
            code, _, err = strict("get-policy", "test", "--out", str(tmp_path / "policy"))
    assert code == 0, err


@pytest.mark.parametrize(
    ("deleted", "why"), [(False, "has ended: over (Error, exit code 1)"), (True, "was deleted")]
)
def test_a_learner_that_ends_meanwhile_is_replaced_by_a_reader(
    rljob: Client, suspended: Node, run: Path, tmp_path: Path, deleted: bool, why: str
) -> None:
    suspended.pod("test-learner-a", "learner")

    def end(asked: tuple[str, node.Query]) -> None:
        ours = asked[0].endswith("/test-learner-a")
        if ours and deleted:
            suspended.delete("test-learner-a")
        elif ours:
            suspended.set("test-learner-a", "learner", state="terminated")

    suspended.on_ask = end
    with serving(run) as port, started(suspended):
        suspended.ports["test-get-policy-"] = port
        code, _, err = rljob("get-policy", "test", "--out", str(tmp_path / "policy"))
    assert code == 0, err
    assert err.startswith(f"pod test-learner-a {why}\n")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("terminated", "has ended: over (Error, exit code 1)"),
        (
            "waiting",
            "does not serve a checkpoint: ImagePullBackOff: no such image. Select another image",
        ),
    ],
)
def test_a_reader_that_cannot_read_is_told_and_deleted(
    rljob: Client, suspended: Node, tmp_path: Path, state: str, message: str
) -> None:
    with started(suspended, state):
        code, _, err = rljob("get-policy", "test", "--out", str(tmp_path / "policy"))
    assert code == 1
    assert message in err
    assert readers(suspended) == []
    assert not (tmp_path / "policy").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_deletes_the_reader(
    rljob: Client, suspended: Node, tmp_path: Path, number: signal.Signals
) -> None:
    process = rljob.start("get-policy", "test", "--out", str(tmp_path / "policy"))
    with ended(process):
        until(lambda: readers(suspended), "a reader")
        process.send_signal(number)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number
    assert readers(suspended) == []
    assert not list(tmp_path.glob("*policy*"))


def test_what_a_killed_command_left_is_swept_by_the_next(
    rljob: Client, suspended: Node, run: Path, tmp_path: Path
) -> None:
    process = rljob.start("get-policy", "test", "--out", str(tmp_path / "policy"))
    with ended(process):
        (left,) = until(lambda: readers(suspended), "a reader")
    suspended.finish(left)
    with serving(run) as port, started(suspended):
        suspended.ports["test-get-policy-"] = port
        assert rljob("get-policy", "test", "--out", str(tmp_path / "policy"))[0] == 0
    assert readers(suspended) == []
