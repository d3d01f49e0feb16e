"""Roles as pods: they start in any order, come and go under new names, and end with a word."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import time
from pathlib import Path

import pytest

from rljob.checkpoints.unpack import unpack
from rljob.errors import INTERRUPTED
from rljob.roles.evaluator.play import evaluate_run
from rljob.spec.status import EndReport, LearnerReport
from tests.integration.forwarder import Forwarder
from tests.integration.pods import TOKEN, Container, end_inside, running
from tests.oracle import judge
from tests.ports import free_port

pytestmark = pytest.mark.timeout(600)


def test_any_order_then_a_good_end_and_quiet(tmp_path: Path) -> None:
    with running(
        tmp_path, stop={"steps": 4000}, evaluation={"interval": "1s", "episodes": 1}
    ) as job:
        rollout = job.start("rollout", "x-rollout-7d9f-abcde")
        job.until(lambda: rollout.ask("/readyz") == (503, b"waits for the buffer\n"), "waiting")
        evaluator = job.start("evaluator")
        job.until(lambda: evaluator.ask("/readyz") == (503, b"waits for weights\n"), "waiting")
        learner = job.start("learner")
        job.until(lambda: learner.ask("/readyz") == (503, b"waits for the buffer\n"), "waiting")
        assert all(pod.ask("/healthz") == (200, b"ok\n") for pod in (rollout, evaluator, learner))
        assert learner.status()["seed"] == 1
        assert rollout.ask("/status")[0] == 404
        buffer = job.start("buffer")
        job.until(buffer.ready, "a buffer")
        job.until(learner.ready, "a learner")
        job.until(rollout.ready, "a rollout")
        assert learner.wait() == 0, job.tell()

        end = EndReport.model_validate(learner.ended())
        assert (end.outcome, end.reason) == ("Complete", "StepsReached")
        assert re.fullmatch(r"stop\.steps 4000 was reached with 4\d{3}", end.message)
        assert end.report is not None
        assert end.report.progress.steps >= 4000
        saved = end.report.last_checkpoint
        assert saved is not None
        assert saved.verified
        assert saved.step == end.report.progress.steps
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", saved.time)
        folder = learner.folder / saved.path
        assert saved.sha256 == sha256(folder / "manifest.json")
        assert end.report.versions.keys() >= {"python", "rljob", "torch"}

        # The others wait until they are told to go, and say nothing more.
        rest = [rollout, evaluator, buffer]
        sizes = [pod.log.stat().st_size for pod in rest]
        quiet = time.monotonic() + 6.0
        job.until(lambda: time.monotonic() > quiet)
        assert all(pod.alive() for pod in rest), job.tell()
        assert [pod.log.stat().st_size for pod in rest] == sizes, job.tell()
        assert [pod.ask("/healthz")[0] for pod in rest] == [200] * 3
        assert [pod.end() for pod in rest] == [0] * 3, job.tell()
        assert not any(pod.end_file.exists() for pod in rest)


def test_each_page_is_for_whom_it_concerns(tmp_path: Path) -> None:
    """As in a pod: three ports, and a token for one of them."""
    with running(tmp_path) as job:
        state = free_port()
        learner = job.start("learner", "", "--state-port", str(state))
        job.until(lambda: learner.ask("/status", state)[0] == 200, "the learner's report")

        def answers(port: int, token: str = "") -> dict[str, int]:
            pages = ("metrics", "healthz", "state", "status", "records", "checkpoint")
            return {page: learner.ask(f"/{page}", port, token)[0] for page in pages}

        opened = {"metrics": 200, "healthz": 200}
        closed = dict.fromkeys(("state", "status", "records", "checkpoint"), 404)
        assert answers(learner.port, TOKEN) == {**opened, **closed}
        none = dict.fromkeys(("metrics", "healthz", "records", "checkpoint"), 404)
        assert answers(state, TOKEN) == {**none, "state": 200, "status": 200}
        assert answers(state) == {**none, "state": 401, "status": 401}
        # There is no checkpoint yet.
        every = {**opened, "state": 200, "status": 200, "records": 200, "checkpoint": 404}
        assert answers(learner.loopback) == every


def test_without_a_token_nobody_is_told_the_state(tmp_path: Path) -> None:
    with running(tmp_path) as job:
        empty = tmp_path / "empty"
        empty.write_text("\n")
        refused = job.start("buffer", "", "--token", str(empty))
        assert refused.wait() == 2
        assert refused.ended()["message"] == f"{empty} is empty; a token is expected"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_interrupted_learner_says_so_and_goes_on(tmp_path: Path) -> None:
    with running(tmp_path) as job:
        learner = job.start("learner")
        # While it imports torch or waits for the buffer, nothing is lost by ending at once.
        job.until(lambda: b"metrics at" in learner.log.read_bytes(), "a start")
        assert learner.end() == INTERRUPTED, job.tell()
        assert learner.ended()["outcome"] == "Interrupted"

        buffer, rollout = job.start("buffer"), job.start("rollout")
        learner = job.start("learner")
        job.trains(learner)
        report = LearnerReport.model_validate(learner.status())
        assert report.progress.steps_per_second > 0
        code, body = learner.ask("/checkpoint", learner.loopback)
        assert code == 200
        (tmp_path / "policy").mkdir()
        assert unpack(iter([body]), tmp_path / "policy").version >= 0
        played = evaluate_run(tmp_path / "policy", episodes=1)
        assert played.mean > 0
        assert learner.end() == INTERRUPTED, job.tell()
        end = EndReport.model_validate(learner.ended())
        assert (end.outcome, end.reason) == ("Interrupted", "Interrupted")
        assert end.report is not None
        assert end.report.last_checkpoint is not None
        assert end.report.last_checkpoint.step == end.report.progress.steps
        reached = end.report.progress.steps

        again = job.start("learner")
        job.until(again.status, "a report")
        assert again.steps() >= reached, "from its first word on"
        job.until(lambda: again.steps() > reached, "more training")
        assert [pod.end() for pod in (again, rollout, buffer)] == [INTERRUPTED, 0, 0], job.tell()


def test_rollouts_come_and_go(tmp_path: Path) -> None:
    """1 → 4 → 1, where each pod was told another number; nothing is lost, nothing doubled."""
    with running(tmp_path) as job:
        buffer, learner = job.start("buffer"), job.start("learner")
        first = job.start("rollout", "x-rollout-a")
        job.trains(learner)
        more = [
            job.start("rollout", f"x-rollout-{n}", rollout={"replicas": 4, "envsPerReplica": 8})
            for n in "bcd"
        ]
        for pod in more:
            job.until(lambda pod=pod: pod.metric("rollout_segments_acked_total") > 20, "its share")
        assert buffer.metric("buffer_rollouts_connected") == 4
        job.trains(learner)
        assert [pod.end() for pod in more[:2]] == [0, 0], job.tell()
        # The one that is killed holds credit; nobody waits for it for long.
        more[2].end(signal.SIGKILL)
        job.until(lambda: buffer.metric("buffer_rollouts_connected") == 1, "one left")
        job.trains(learner)
        # The same pod with another container: its random numbers and its epoch are new.
        assert first.end() == 0
        again = job.start("rollout", "x-rollout-a", rollout={"replicas": 2, "envsPerReplica": 8})
        job.trains(learner)
        for pod in (again, learner, buffer):
            pod.end()
        judgement = judge(tmp_path / "trace", least=100)
        assert judgement.verdict == "valid", f"{judgement}\n{job.tell()}"


def test_a_learner_that_is_told_of_more_rollouts_takes_larger_batches(tmp_path: Path) -> None:
    """The buffer was made for batches of one segment, and makes room."""
    with running(tmp_path) as job:
        buffer, rollout, learner = (job.start(role) for role in ("buffer", "rollout", "learner"))
        job.trains(learner)
        assert learner.end() == INTERRUPTED
        many = {"replicas": 12, "envsPerReplica": 8}
        learner = job.start("learner", rollout=many)
        job.until(learner.ready, "a welcome")
        before, updates = learner.steps(), learner.status()["progress"]["updates"]
        job.trains(learner, 12 * 16 * 8 * 3)
        progress = learner.status()["progress"]
        per_update = (progress["steps"] - before) / (progress["updates"] - updates)
        assert per_update > 11 * 16 * 8
        for pod in (rollout, learner, buffer):
            pod.end()
        judgement = judge(tmp_path / "trace", least=50)
        assert judgement.verdict == "valid", f"{judgement}\n{job.tell()}"


def test_a_buffer_comes_back_elsewhere_with_what_it_had(tmp_path: Path) -> None:
    """Its machine is lost: no connection is closed. It has the same volume, and another address."""
    hosts = [("127.0.0.2", free_port("127.0.0.2")), ("127.0.0.3", free_port("127.0.0.3"))]
    services = []
    with running(tmp_path, algorithm={"name": "DQN", "config": {"minSize": 500}}) as job:
        try:
            port = free_port()
            services = [Forwarder(None, port + link) for link in (0, 1)]
            job.buffer = f"tcp://127.0.0.1:{port}"
            rollout, learner = job.start("rollout"), job.start("learner")

            def buffer_at(host: str, port: int) -> None:
                job.binds["buffer"] = f"tcp://{host}:{port}"
                for link, service in enumerate(services):
                    service.move((host, port + link))

            buffer_at(*hosts[0])
            buffer = job.start("buffer", folder=tmp_path / "volume")
            job.trains(learner)
            job.until(lambda: buffer.metric("buffer_stored_steps"), "a report")
            stored = buffer.metric("buffer_stored_steps")
            assert stored > 0
            for service in services:
                service.move(None)
            buffer.end(signal.SIGKILL)
            buffer_at(*hosts[1])
            buffer = job.start("buffer", folder=tmp_path / "volume")
            job.until(lambda: buffer.metric("buffer_stored_steps") > stored + 500, "more")
            job.trains(learner)
            for pod in (rollout, learner, buffer):
                pod.end()
            judgement = judge(tmp_path / "trace", least=8)
            assert judgement.verdict == "valid", f"{judgement}\n{job.tell()}"
        finally:
            for service in services:
                service.close()


def test_in_containers_under_names(tmp_path: Path) -> None:
    """Names that nobody knows yet, then that of a buffer that moves."""
    container = Container(tmp_path)
    if why := container.refused():
        pytest.skip(f"no containers here: {why}")
    inside = {"prefix": container.prefix, "variables": container.variables}
    with running(tmp_path) as job:
        ports = free_port("127.0.0.2"), free_port()
        job.buffer, job.learner = f"tcp://x-buffer:{ports[0]}", f"tcp://x-learner:{ports[1]}"
        job.binds = {
            "buffer": f"tcp://127.0.0.2:{ports[0]}",
            "learner": f"tcp://127.0.0.1:{ports[1]}",
        }
        rollout, learner = job.start("rollout", **inside), job.start("learner", **inside)
        buffer = job.start("buffer", folder=tmp_path / "volume", **inside)
        job.until(
            lambda: buffer.ready() and learner.ask("/readyz")[0] and rollout.ask("/readyz")[0]
        )
        container.resolve(x_buffer="127.0.0.2", x_learner="127.0.0.1")
        job.trains(learner)
        assert rollout.ready()

        end_inside(buffer, signal.SIGKILL)
        job.binds["buffer"] = f"tcp://127.0.0.3:{ports[0]}"
        buffer = job.start("buffer", folder=tmp_path / "volume", **inside)
        container.resolve(x_buffer="127.0.0.3", x_learner="127.0.0.1")
        job.until(lambda: buffer.metric("buffer_environment_steps_inserted_total"), "a new home")
        job.trains(learner)
        ends = [end_inside(pod) for pod in (rollout, learner, buffer)]
        assert ends == [0, INTERRUPTED, 0], job.tell()
        assert learner.ended()["outcome"] == "Interrupted"
        judgement = judge(tmp_path / "trace", least=20)
        assert judgement.verdict == "valid", f"{judgement}\n{job.tell()}"


def test_a_damaged_checkpoint_is_refused_by_name_and_the_one_before_is_used(tmp_path: Path) -> None:
    with running(tmp_path, checkpoint={"interval": "1s", "keep": 5}) as job:
        buffer, rollout, learner = (job.start(role) for role in ("buffer", "rollout", "learner"))
        folder = learner.folder / "checkpoints"
        job.until(lambda: len(list(folder.glob("0*"))) >= 2, "two checkpoints")
        assert learner.end() == INTERRUPTED
        *_, before, newest = sorted(folder.glob("0*"))
        (newest / "learner.safetensors").write_bytes(b"damaged")
        learner = job.start("learner")
        job.until(learner.status, "a report")
        assert learner.status()["lastCheckpoint"]["path"] == f"checkpoints/{before.name}"
        log = learner.log.read_text()
        assert f"damaged checkpoint {newest}: learner.safetensors has 7 bytes" in log
        assert f"resuming from {before}" in log
        job.trains(learner)
        for pod in (rollout, learner, buffer):
            pod.end()


def test_failures_are_told(tmp_path: Path) -> None:
    with running(tmp_path) as job:
        rollout = job.start("rollout", environment={"id": "CartPol-v1"})
        assert rollout.wait() == 2
        end = rollout.ended()
        assert (end["outcome"], end["reason"]) == ("Failed", "InputError")
        assert "CartPole-v1" in end["message"]
        assert end["problems"][0]["path"] == "environment.id"
        buffer = job.start("buffer", "", "--metrics-port", "1", "--metrics-host", "203.0.113.1")
        assert buffer.wait() == 1
        assert buffer.ended()["reason"] == "RunError"
        assert "203.0.113.1" in buffer.ended()["message"]
        assert json.loads(buffer.end_file.read_text())["outcome"] == "Failed"
