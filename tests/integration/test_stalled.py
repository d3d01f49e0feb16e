"""A run that gets nowhere says so, with the stack of what hangs, and does what the job asks for."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_run import DEADLINE, ENDLESS, Place, records, result, trains, until

MODULE = '''
import pathlib, time
import gymnasium


class Hangs(gymnasium.Wrapper):
    """Hangs in the step after a file appears."""

    def __init__(self, env, file):
        super().__init__(env)
        self.file = pathlib.Path(file)

    def step(self, action):
        if self.file.exists():
            self.file.unlink()
            time.sleep(1000)
        return super().step(action)


def make(file):
    return Hangs(gymnasium.make("CartPole-v1"), file)


class Absent(gymnasium.Wrapper):
    """Waits for a simulator that is not there."""

    def reset(self, **options):
        time.sleep(1000)


def absent():
    return Absent(gymnasium.make("CartPole-v1"))
from rljob.algorithms.built_in.ppo import PPO


class HangingPPO(PPO):
    """Hangs in the update after a file appears in the working folder."""

    def learner(self, network, seed):
        made = super().learner(network, seed)
        update = made.update

        def slow(batch, progress):
            if pathlib.Path("hang-update").exists():
                pathlib.Path("hang-update").unlink()
                time.sleep(1000)
            return update(batch, progress)

        made.update = slow
        return made
'''


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    (tmp_path / "hangs.py").write_text(MODULE)
    yield made
    made.close()


def start(place: Place, policy: str, **more: Any) -> subprocess.Popen[str]:
    """A run that trains, with one rollout whose environment hangs when told to."""
    sections: dict[str, Any] = {
        **ENDLESS,
        "environment": {
            "entryPoint": "hangs:make",
            "kwargs": {"file": str(place.folder / "hang")},
        },
        "rollout": {"replicas": 1, "envsPerReplica": 2},
        "stall": {"timeout": "3s", "policy": policy},
        **more,
    }
    process = place.start("run", place.write(**sections), "--plain", "--dir", "run")
    until(lambda: trains(place.folder / "run"))
    return process


def hang(place: Place) -> None:
    (place.folder / "hang").touch()


def end(process: subprocess.Popen[str]) -> str:
    """Everything that it said."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE)
    return out + err


def said(place: Place, words: str) -> bool:
    logs = (place.folder / "run" / "logs").glob("*.log")
    return any(words in log.read_text() for log in logs)


def test_a_hung_environment_is_replaced_where_that_is_asked_for(place: Place) -> None:
    process = start(place, "Restart")
    folder = place.folder / "run"
    hang(place)
    until(lambda: said(place, "hangs.py:16 step"))
    reached = records(folder)[-1]["steps"]

    until(lambda: trains(folder, reached))

    text = end(process)
    assert process.returncode == 130, text
    assert "no progress for 3s: rollout-0 has done nothing" in text
    assert "rollout-0 was killed (SIGKILL)" in text
    assert result(folder)["restarts"] == 1
    place.assert_clean()


def test_it_ends_the_run_where_that_is_asked_for(place: Place) -> None:
    process = start(place, "Fail")
    hang(place)

    process.wait(DEADLINE)

    text = end(process)
    assert process.returncode == 1
    assert "hangs.py:16 step" in text
    ended = result(place.folder / "run")
    assert (ended["outcome"], ended["reason"]) == ("Failed", "EnvironmentHung")
    place.assert_clean()


def test_a_frozen_learner_is_only_told_of_by_default(place: Place) -> None:
    process = start(place, "Ignore")
    pid = place.processes()["learner-0"]
    os.kill(pid, signal.SIGSTOP)
    until(lambda: said(place, "learner-0 does not answer"))
    os.kill(pid, signal.SIGCONT)
    reached = records(place.folder / "run")[-1]["steps"]

    until(lambda: trains(place.folder / "run", reached))

    text = end(process)
    assert text.count("no progress for 3s: learner-0 does not answer") == 1
    assert place.processes() == {}
    assert result(place.folder / "run")["restarts"] == 0


def test_explain_names_the_code_that_hangs_and_what_bounds_a_run(place: Place) -> None:
    process = start(place, "Ignore")
    trained = place.run("explain", "run")
    assert trained.returncode == 0, trained.stderr
    assert "small trains at" in trained.stdout
    assert "Where time goes" in trained.stdout
    assert "rollout-0   experience" in trained.stdout

    token = place.folder / "run" / "token"
    assert token.stat().st_mode & 0o777 == 0o600
    token.rename(token.with_name("elsewhere"))
    assert "Not probed: cannot read the token in" in place.run("explain", "run").stdout
    token.with_name("elsewhere").rename(token)

    hang(place)
    said = ""

    def explained() -> bool:
        nonlocal said
        done = place.run("explain", "run")
        said = done.stdout + done.stderr
        return done.returncode == 1

    until(explained, lambda: said)

    end(process)
    assert said.startswith("small is not training: rollout-0 has done nothing for")
    assert "hangs.py:16 step" in said
    stopped = place.run("explain", "run")
    assert "small was stopped before its end." in stopped.stdout
    assert not token.exists()


def test_a_run_whose_environments_never_answer_fails(place: Place) -> None:
    job = place.write(
        environment={"entryPoint": "hangs:absent"},
        stop={"duration": "1s"},
        stall={"startTimeout": "2s"},
    )
    done = place.run("run", job, "--plain", "--dir", "run")

    assert done.returncode == 1, done.stdout + done.stderr
    ended = result(place.folder / "run")
    assert (ended["outcome"], ended["reason"]) == ("Failed", "EnvironmentHung")
    assert ended["message"].startswith("No environment has answered 2 s after the start")
    assert re.search(r"hangs\.py:\d+ reset", ended["message"])
    place.assert_clean()


def readiness(place: Place, role: str) -> str:
    """What a role answers at `/readyz`."""
    for entry in json.loads((place.folder / "run" / "targets.json").read_text()):
        if entry["labels"]["pod"] == role:
            return fetch(f"http://{entry['targets'][0]}/readyz")
    raise AssertionError(f"{role} has no address")


def fetch(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode().strip())
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.read().decode().strip()}"


def test_a_learner_that_hangs_in_an_update_is_not_ready_and_is_named(place: Place) -> None:
    algorithm = {"entryPoint": "hangs:HangingPPO", "config": {"rolloutLength": 32}}
    process = start(place, "Ignore", algorithm=algorithm)
    assert readiness(place, "learner-0") == "ok"
    (place.folder / "hang-update").touch()
    until(lambda: said(place, "learner-0 has done nothing"))
    unready = re.compile(r"503 no progress for \d+\.\d s")
    until(lambda: unready.fullmatch(readiness(place, "learner-0")))
    explained = ""

    def named() -> bool:
        nonlocal explained
        explained = place.run("explain", "run").stdout
        return "learner-0 has done nothing" in explained

    until(named, lambda: explained)
    assert "hangs.py" in explained
    os.kill(place.processes()["learner-0"], signal.SIGKILL)
    text = end(process)
    assert "no progress for 3s: learner-0 has done nothing" in text
    lines = (place.folder / "run" / "events.jsonl").read_text().splitlines()
    stalls = [line for line in map(json.loads, lines) if line["event"] == "stalled"]
    assert stalls[0]["role"] == "learner-0"
    assert stalls[0]["reason"].startswith("LearnerStalled: learner-0 has done nothing")
    place.run("report", "run")
    assert "LearnerStalled" in (place.folder / "run" / "report.html").read_text()


def test_a_learner_that_cannot_reach_the_buffer_is_not_ready_until_it_can(place: Place) -> None:
    process = start(place, "Ignore")
    buffer = place.processes()["buffer-0"]
    os.kill(buffer, signal.SIGSTOP)
    until(lambda: readiness(place, "learner-0") == "503 waits for the buffer")
    os.kill(buffer, signal.SIGCONT)
    until(lambda: readiness(place, "learner-0") == "ok")
    end(process)
