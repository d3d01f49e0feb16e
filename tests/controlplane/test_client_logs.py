"""`rljob logs`, from a kubelet of a few lines by way of a real API server."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from tests.controlplane import node
from tests.controlplane.client import COMPLETE, PATIENCE, Client, ended, lines_of, rest_of, until
from tests.controlplane.node import Node


def said(*lines: str) -> node.Log:
    return lambda query: iter([f"{line}\n".encode() for line in lines])


def test_logs_are_those_of_the_learner_that_is_there(rljob: Client, machine: Node) -> None:
    code, _, err = rljob("logs", "test")
    assert (code, err) == (1, "test has no learner pod; its phase is Pending\n")
    machine.pod("test-learner-a", "learner", state="terminated")
    machine.logs["test-learner-a"] = said("first")
    until(lambda: _later(rljob, machine), "a pod made in a later second")
    machine.logs["test-learner-b"] = said("second", "third")
    assert rljob("logs", "test") == (0, "second\nthird\n", "")
    assert rljob("logs", "test", "--previous") == (0, "first\n", "")
    assert rljob("logs", "test", "--tail", "1")[0] == 0
    assert machine.asked[-1][1] == {"tailLines": "1"}


def _later(rljob: Client, machine: Node) -> bool:
    """Make the second learner once its creation time, in whole seconds, differs from the first's."""
    (first,) = machine.pods()
    made = first["metadata"]["creationTimestamp"]
    if time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) <= made:
        return False
    machine.pod("test-learner-b", "learner")
    return True


def test_lines_of_several_pods_have_their_names(rljob: Client, machine: Node) -> None:
    for name, state in (("a", "running"), ("b", "running"), ("c", "waiting")):
        machine.pod(f"test-rollout-{name}", "rollout", state=state)
        machine.logs[f"test-rollout-{name}"] = said(f"I am {name}")
    code, out, err = rljob("logs", "test", "--role", "rollout")
    assert code == 0
    assert out == "[test-rollout-a] I am a\n[test-rollout-b] I am b\n"
    assert err == "test-rollout-c has not started: ImagePullBackOff: no such image\n"
    machine.set("test-rollout-b", "rollout", restarts=1)
    assert rljob("logs", "test", "--role", "rollout", "-p")[1] == "I am b\n"
    assert machine.asked[-1][1] == {"previous": "true"}


def test_following_goes_on_over_restarts_and_broken_connections(
    rljob: Client, machine: Node
) -> None:
    """Every line once: a connection that breaks is taken up where it broke off."""
    stamp = "2026-01-01T00:00:0{}.000000000Z line {}\n"
    broken = threading.Event()

    def log(query: node.Query) -> Iterator[bytes]:
        # As a kubelet: from that second on.
        start = 0 if "sinceTime" not in query else int(query["sinceTime"][18])
        if start == 0:
            yield b"".join(stamp.format(n, n).encode() for n in range(3))
            broken.set()
        else:
            yield b"".join(stamp.format(n, n).encode() for n in range(start, 6))
            yield b"the node says something\n"
            machine.set("test-learner-a", "learner", state="terminated")

    machine.pod("test-learner-a", "learner")
    machine.logs["test-learner-a"] = log
    process = rljob.start("logs", "test", "-f")
    with ended(process):
        assert broken.wait(PATIENCE)
        shown = lines_of(process, "the node says something")
        rljob.status({"phase": "Complete", "conditions": COMPLETE})
        out, err = rest_of(process)
    assert (process.returncode, err) == (0, "")
    assert shown + out == "".join(f"line {n}\n" for n in range(6)) + "the node says something\n"


def test_following_waits_for_a_pod_and_takes_up_its_successor(rljob: Client, machine: Node) -> None:
    process = rljob.start("logs", "test", "-f")
    with ended(process):
        assert process.stderr is not None
        assert process.stderr.readline() == "no learner pod yet: Pending\n"
        machine.logs["test-learner-a"] = said("2026-01-01T00:00:00.000000000Z one")
        machine.pod("test-learner-a", "learner")
        lines_of(process, "one")
        machine.set("test-learner-a", "learner", state="terminated")
        machine.logs["test-learner-b"] = said("2026-01-01T00:00:01.000000000Z two")
        until(lambda: _later(rljob, machine), "a pod made in a later second")
        assert lines_of(process, "two") == "[test-learner-b] two\n"


def test_a_reader_that_has_seen_enough_ends_the_command(rljob: Client, machine: Node) -> None:
    machine.pod("test-learner-a", "learner")
    machine.logs["test-learner-a"] = said(*(["line"] * 100_000))
    command = [sys.executable, "-m", "rljob", *rljob.whole(["logs", "test"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 0
