"""The commands of a cluster's client against a real API server; the operator's part is played by the test."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from rljob import checkpoint, export, spec
from rljob.checkpoint import Snapshot
from rljob.cli.main import main
from rljob.cluster.jobs import manifest
from rljob.pages import serve_pages
from tests.apiserver import ApiServer
from tests.controlplane import jobs, node
from tests.controlplane.node import Node
from tests.unit.clusterjobs import TRAINING, condition
from tests.unit.specs import GOOD, Job, job

PATIENCE = 30.0
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


@pytest.fixture
def rljob(apiserver: ApiServer, namespace: str, capsys: pytest.CaptureFixture[str]) -> Client:
    return Client(apiserver, namespace, capsys, apiserver.admin)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(FILE)
    return path


def until(reached: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (value := reached()):
        assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(0.05)
    return value


# ---- submit


def test_a_job_is_submitted_as_it_was_written(rljob: Client, file: Path) -> None:
    out = "rljob.rljob.dev/test created\n"
    assert rljob("submit", str(file), "--set", "rollout.replicas=3") == (0, out, "")
    made = rljob.get()
    assert made is not None
    assert made["spec"]["rollout"]["replicas"] == 3
    # Nobody wrote it, so the API server has put it there.
    assert made["spec"]["backoffLimit"] == 3


def test_every_good_job_is_taken(apiserver: ApiServer, namespace: str) -> None:
    refused = {}
    for name, content in GOOD.items():
        answer = jobs.try_to_create(apiserver, manifest(spec.parse(content)), namespace)
        if answer.status != 201:
            refused[name] = answer.body["message"]
    assert refused == {}


def test_what_is_wrong_is_said_before_anything_is_sent(rljob: Client, file: Path) -> None:
    file.write_text(FILE + "  rollout: {replica: 2}\n")
    code, _, err = rljob("submit", str(file))
    assert (code, err.splitlines()[0]) == (
        2,
        f"{file}:10: rollout.replica: unknown field. Did you mean replicas?",
    )
    file.write_text(FILE.replace("name: PPO", "name: PPO\n    config: {learning_rate: 1}"))
    code, _, err = rljob("submit", str(file))
    assert (code, err.partition(". ")[0]) == (
        2,
        f"{file}:8: algorithm.config.learning_rate: unknown setting of PPO",
    )
    assert rljob.get() is None


def test_what_only_the_api_server_finds_has_its_line(
    rljob: Client, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As with an older rljob, which does not know the rule.
    file.write_text(FILE + "  strict: true\n  rollout: {replicas: 1}\n  seed: 0\n")
    sent = manifest(spec.load(file))
    del sent["spec"]["seed"]
    sent["spec"]["rollout"]["replicas"] = 0
    monkeypatch.setattr("rljob.cluster.jobs.manifest", lambda _: sent)
    code, _, err = rljob("submit", str(file))
    assert code == 2
    assert f"{file}:11: rollout.replicas: 0: should be greater than or equal to 1" in err


def test_a_job_that_is_there_is_not_touched(rljob: Client, file: Path) -> None:
    before = rljob.create(job(seed=5))
    rljob.status({"phase": "Training"})
    code, _, err = rljob("submit", str(file))
    assert code == 1
    assert err.startswith(
        f"an RLJob test is there already in namespace {rljob.namespace} (Training); delete it first"
    )
    after = rljob.get()
    assert after is not None
    assert after["spec"] == before["spec"]


def test_the_namespace_of_the_file_counts(
    rljob: Client, file: Path, apiserver: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    other = apiserver.namespace()
    file.write_text(FILE.replace("name: test", f"name: test\n  namespace: {other}"))
    code, _, err = rljob("submit", str(file))
    assert code == 2
    assert err == (
        f"{file}:4: metadata.namespace: {other} is not the namespace {rljob.namespace} that "
        "--namespace names\n"
    )
    assert main(["submit", str(file), "--kubeconfig", str(apiserver.admin)]) == 0
    assert apiserver.call("GET", jobs.path_of(other, "test")).status == 200


# ---- errors


def test_a_name_that_is_not_there_is_answered_with_those_that_are(rljob: Client) -> None:
    start = f"there is no RLJob cartpol in namespace {rljob.namespace}"
    assert rljob("status", "cartpol") == (1, "", f"{start}; there is none at all\n")
    rljob.create({**job(), "metadata": {"name": "cartpole"}})
    rljob.create({**job(), "metadata": {"name": "other"}})
    for command in ("status", "logs", "suspend", "resume", "delete"):
        assert rljob(command, "cartpol") == (1, "", f"{start}. Did you mean cartpole?\n")
    assert rljob("status", "zzz")[2].endswith("; there are cartpole, other\n")


def test_what_is_not_allowed_names_verb_and_resource(
    apiserver: ApiServer, namespace: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["-n", namespace, "--kubeconfig", str(apiserver.user("jane"))]
    for command, what in (
        (["status"], "list rljobs.rljob.dev in"),
        (["status", "x"], "get rljobs.rljob.dev x in"),
        (["submit", str(file)], "create rljobs.rljob.dev test in"),
    ):
        assert main([*command, *options]) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"not allowed: jane may not {what} namespace {namespace} at https://")
    assert main(["submit", str(file), "-n", "nowhere", "--kubeconfig", str(apiserver.admin)]) == 1
    assert capsys.readouterr().err.startswith("there is no namespace nowhere at https://")


def changed(server: ApiServer, folder: Path, change: Callable[[Any], None]) -> list[str]:
    config = json.loads(server.admin.read_text())
    change(config)
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return ["status", "--kubeconfig", str(path)]


def test_a_server_that_cannot_be_used_is_named(
    apiserver: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def nowhere(config: Any) -> None:
        config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"

    def unknown_authority(config: Any) -> None:
        config["clusters"][0]["cluster"] = {"server": apiserver.url}

    def bad_token(config: Any) -> None:
        config["users"][0]["user"] = {"token": "bad"}

    def no_file(config: Any) -> None:
        config["users"][0]["user"] = {"client-certificate": "gone.crt", "client-key": "gone"}

    for change, code, message in (
        (nowhere, 1, "the API server https://127.0.0.1:1 (context test): Connection refused"),
        (unknown_authority, 1, "(context test): unable to get local issuer certificate"),
        (bad_token, 1, "(context test) does not accept your credentials: log in again"),
        (no_file, 2, "File does not exist"),
    ):
        assert main(changed(apiserver, tmp_path, change)) == code
        assert message in capsys.readouterr().err


# ---- status


def test_the_table_is_that_of_kubectl(rljob: Client) -> None:
    assert rljob("status") == (0, "", f"there is no RLJob in namespace {rljob.namespace}\n")
    rljob.create()
    rljob.status(TRAINING)
    _, out, _ = rljob("status", "-o", "wide")
    theirs = rljob.server.kubectl("get", "rlj", "-n", rljob.namespace, "-o", "wide").stdout
    head, row = (dict(zip(out.split("\n")[0].split(), line, strict=True)) for line in _rows(out))
    kubectl_head, kubectl_row = _rows(theirs)
    assert list(head) == kubectl_head
    expected = dict(zip(kubectl_head, kubectl_row, strict=True))
    for column in ("NAME", "PHASE", "ROLLOUTS", "LEARNER", "STEP", "STEPS/S", "LAG", "RESTARTS"):
        assert row[column] == expected[column], column
    assert (row["CHECKPOINT"], row["REASON"]) == (expected["CHECKPOINT"], expected["REASON"])
    assert rljob("status", "-A")[1].split()[0] == "NAMESPACE"


def _rows(table: str) -> list[list[str]]:
    return [re.split(r"\s{3,}", line.strip()) for line in table.strip().splitlines()]


def test_other_forms_are_the_objects_themselves(rljob: Client) -> None:
    rljob.create()
    one = json.loads(rljob("status", "test", "-o", "json")[1])
    assert one["metadata"]["name"] == "test"
    assert "managedFields" not in one["metadata"]
    every = yaml.safe_load(rljob("status", "-o", "yaml")[1])
    assert (every["kind"], every["items"][0]["spec"]) == ("List", one["spec"])
    assert every["items"][0]["kind"] == "RLJob"
    assert rljob("status", "-o", "name")[1] == "rljob.rljob.dev/test\n"
    # What is shown can be submitted again.
    assert spec.parse(one).metadata.name == "test"


def test_one_job_is_shown_with_its_events(rljob: Client) -> None:
    rljob.create()
    rljob.status(TRAINING)
    rljob.event("rollout x was evicted", "Warning")
    code, out, _ = rljob("status", "test")
    assert code == 0
    for text in ("Training · made", "81,920 of 1,000", "Unschedulable: 0/2 nodes", "OOMKilled"):
        assert text in out
    assert re.search(r"ago +Noticed +rollout x was evicted\n$", out)


def test_options_that_contradict_each_other_are_refused(rljob: Client) -> None:
    for arguments in (["x", "-A"], ["-w", "-o", "json"]):
        code, _, err = rljob("status", *arguments)
        assert code == 2
        assert "do not go together" in err


# ---- watching

COMPLETE = [condition("Complete", "True", "MeanReturnReached")]
FAILED = [condition("Failed", "True", "BackoffLimitExceeded", "it failed 4 times")]


def lines_of(process: subprocess.Popen[str], *marks: str) -> str:
    """Output up to the line with which all marks have come."""
    assert process.stdout is not None
    found = ""
    for line in process.stdout:
        found += line
        if all(mark in found for mark in marks):
            return found
    raise AssertionError(f"not all of {marks} in {found!r}; {process.communicate()[1]}")


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("conditions", "code", "words"),
    [
        (COMPLETE, 0, "Solved in 1m 50s (81,920 steps)."),
        (FAILED, 1, "Failed after 81,920 steps, 1m 50s: it failed 4 times"),
    ],
)
def test_a_watched_job_is_shown_to_its_end(
    rljob: Client, file: Path, conditions: list[Any], code: int, words: str
) -> None:
    process = rljob.start("submit", str(file), "--watch")
    with ended(process):
        lines_of(process, "rljob.rljob.dev/test created")
        rljob.status({"phase": "Starting"})
        lines_of(process, "Starting")
        rljob.status(TRAINING)
        rljob.event("rollout x was replaced")
        lines_of(process, " steps 81920 ", "rollout x was replaced", "           Training\n")
        rljob.status({"phase": conditions[0]["type"], "conditions": conditions})
        lines_of(process, words)
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, err) == (code, "")
        assert f"rljob get-policy test --out test --kubeconfig {rljob.kubeconfig} -n " in out


def test_interrupting_leaves_the_job_alone(rljob: Client) -> None:
    rljob.create()
    rljob.status(TRAINING)
    process = rljob.start("status", "test", "--watch")
    with ended(process):
        lines_of(process, " steps 81920 ")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err.startswith("test goes on without being watched; look again: rljob status test -")
    assert rljob.get() is not None


def test_a_job_that_is_deleted_or_replaced_ends_the_watching(rljob: Client) -> None:
    rljob.create()
    process = rljob.start("status", "test", "--watch")
    with ended(process):
        lines_of(process, "Pending")
        assert rljob("delete", "test")[0] == 0
        rljob.create()
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (1, "the RLJob test was deleted\n")


def test_an_api_server_that_is_away_is_waited_for(rljob: Client, tmp_path: Path) -> None:
    rljob.create()
    rljob.status(TRAINING)
    with node.running(rljob.server, rljob.namespace, tmp_path) as before:
        rljob.kubeconfig = before.kubeconfig
        process = rljob.start("status", "test", "--watch")
        with ended(process):
            lines_of(process, " steps 81920 ")
            before.away = True
            lines_of(process, "trying again")
            before.away = False
            rljob.status({"phase": "Complete", "conditions": COMPLETE})
            process.communicate(timeout=PATIENCE)
            assert process.returncode == 0


def test_a_watched_table_tells_only_what_changes(rljob: Client) -> None:
    rljob.create()
    process = rljob.start("status", "--watch")
    with ended(process):
        lines_of(process, "Pending")
        rljob.status(TRAINING)
        assert lines_of(process, "Training").count("\n") == 1


# ---- changes


def test_suspending_and_resuming_may_be_repeated(rljob: Client) -> None:
    rljob.create()
    full = "rljob.rljob.dev/test"
    assert rljob("suspend", "test")[1].startswith(f"{full} suspended: it saves a checkpoint")
    assert rljob("suspend", "test")[:2] == (0, f"{full} is suspended already\n")
    found = rljob.get()
    assert found is not None
    assert found["spec"]["suspend"] is True
    rljob.status(TRAINING)
    assert rljob("resume", "test")[:2] == (0, f"{full} resumed: it goes on at step 80,000\n")
    assert rljob("resume", "test")[:2] == (0, f"{full} is not suspended\n")
    found = rljob.get()
    assert found is not None
    assert found["spec"]["suspend"] is False


def test_scaling_changes_the_rollouts_within_their_bounds(rljob: Client) -> None:
    rljob.create(job(rollout={"replicas": 2, "maxReplicas": 4}))
    full = "rljob.rljob.dev/test"
    assert rljob("scale", "test", "--replicas", "4")[1] == f"{full} scaled from 2 to 4 rollouts\n"
    assert rljob("scale", "test", "--replicas", "4")[1] == f"{full} has 4 rollouts already\n"
    code, _, err = rljob("scale", "test", "--replicas", "5")
    assert code == 2
    assert err.startswith("rollout")
    found = rljob.get()
    assert found is not None
    assert found["spec"]["rollout"]["replicas"] == 4


def test_a_job_that_has_ended_is_not_changed(rljob: Client) -> None:
    rljob.create()
    rljob.status({"phase": "Complete", "conditions": COMPLETE})
    for command in (["suspend", "test"], ["resume", "test"], ["scale", "test", "--replicas", "3"]):
        code, _, err = rljob(*command)
        assert code == 1
        assert err.startswith("test has ended (Complete)")


def test_a_job_is_deleted(rljob: Client) -> None:
    rljob.create()
    assert rljob("delete", "test")[:2] == (0, 'rljob.rljob.dev "test" deleted\n')
    assert rljob.get() is None


def test_waiting_for_a_deletion_ends_when_all_is_gone(rljob: Client) -> None:
    rljob.create()
    process = rljob.start("delete", "test", "--wait")
    with ended(process):
        going = until(
            lambda: "deletionTimestamp" in (rljob.get() or {}).get("metadata", {}), "the deletion"
        )
        assert going
        assert process.poll() is None
        # There is no garbage collector here: it would do this once the pods are gone.
        patch = {"metadata": {"finalizers": []}}
        path = jobs.path_of(rljob.namespace, "test")
        assert rljob.server.call("PATCH", path, patch, jobs.MERGE).status == 200
        out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, 'rljob.rljob.dev "test" deleted\n')


# ---- logs


@pytest.fixture
def machine(rljob: Client, tmp_path: Path) -> Iterator[Node]:
    """A node; the commands reach its pods."""
    rljob.create()
    with node.running(rljob.server, rljob.namespace, tmp_path) as found:
        rljob.kubeconfig = found.kubeconfig
        yield found


def said(*lines: str) -> node.Log:
    return lambda query: iter([f"{line}\n".encode() for line in lines])


def test_logs_are_those_of_the_learner_that_is_there(rljob: Client, machine: Node) -> None:
    code, _, err = rljob("logs", "test")
    assert (code, err) == (1, "test has no learner pod now: it is Pending\n")
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
        out, err = process.communicate(timeout=PATIENCE)
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


# ---- policy


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
    snapshot = Snapshot(version, 0, tensors, {}, tensors, {}, steps=version * 100)
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
    page = lambda: export.page(run / "checkpoints", run / "job.yaml")  # noqa: E731
    server = serve_pages({"/checkpoint": page}, "127.0.0.1", 0)
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
    assert rljob("get-policy", "test", "--out", str(out))[2].startswith(f"{out} is there already")


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
    assert err.startswith("warning: policy version 4, which the status of test names, cannot be")
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
    assert rljob(*arguments)[2] == "test has no checkpoint yet: it is Pending\n"
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
    assert re.fullmatch(r"pod test-get-policy-\w+ reads the checkpoints of test\n", err)
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


def test_a_learner_that_ends_meanwhile_is_replaced_by_a_reader(
    rljob: Client, suspended: Node, run: Path, tmp_path: Path
) -> None:
    suspended.pod("test-learner-a", "learner")

    def end(asked: tuple[str, node.Query]) -> None:
        if asked[0].startswith("test-learner-a/"):
            suspended.set("test-learner-a", "learner", state="terminated")

    suspended.on_ask = end
    with serving(run) as port, started(suspended):
        suspended.ports["test-get-policy-"] = port
        code, _, err = rljob("get-policy", "test", "--out", str(tmp_path / "policy"))
    assert code == 0, err
    assert err.startswith("pod test-learner-a has ended: over (Error, exit code 1)\n")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("terminated", "has ended: over (Error, exit code 1)"),
        ("waiting", "does not serve a checkpoint: ImagePullBackOff: no such image. Another image"),
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
