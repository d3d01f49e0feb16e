"""Handles of runs on this machine: `rljob.start` and `rljob.attach`, with real runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rljob
from rljob.handles.run import RunHandle

pytestmark = pytest.mark.timeout(900)
PATIENCE = 400.0
"""Seconds until what a test waits for counts as hung."""
JOB: dict[str, Any] = {
    "metadata": {"name": "test"},
    "spec": {
        "environment": {"id": "CartPole-v1"},
        "algorithm": {"name": "REINFORCE"},
        "stop": {"steps": 100_000_000},
        "rollout": {"replicas": 1},
        "checkpoint": {"everyUpdates": 1},
    },
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def until(reached: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (value := reached()):
        assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(0.05)
    return value


def test_a_run_is_scaled_stopped_resumed_and_deleted(tmp_path: Path) -> None:
    job = rljob.start(JOB, seed=1)
    try:
        assert job.folder == tmp_path / "runs/test-1"
        until(lambda: job.status.checkpoint_step, "a checkpoint")
        assert (job.status.phase, job.status.ended, job.status.rollouts) == ("Training", False, 1)
        with pytest.raises(
            TimeoutError, match=r"test has not ended within 0\.01 s: Training, step"
        ):
            job.wait(0.01)
        with pytest.raises(rljob.InputError, match="test has not ended"):
            job.result()

        job.scale(2)
        until(lambda: job.status.rollouts_ready == 2, "two rollouts")
        assert job.status.rollouts == 2
        job.scale(1)
        until(lambda: job.status.rollouts_ready == 1, "one rollout")
        assert job.status.restarts == 0
        assert "==> learner-0 <==" in job.logs()
        assert len(job.logs("learner", tail=1).splitlines()) == 1

        # Another program has the same run.
        same = rljob.attach("runs/test-1")
        same.stop()
        stopped = job.status
        assert (stopped.phase, stopped.reason) == ("Stopped", "Interrupted")
        assert job.wait() == stopped
        assert job.result().outcome == "Stopped"
        assert job.history()["steps"][-1] <= stopped.steps
        with pytest.raises(rljob.RunError, match=r"has ended \(Stopped\); it cannot be scaled"):
            job.scale(2)

        job.resume()
        until(lambda: job.status.steps > stopped.steps, "progress")
    finally:
        job.delete()
    assert not job.folder.exists()
    with pytest.raises(rljob.RunError, match="was deleted"):
        job.wait()


def test_a_run_goes_on_without_the_program_that_started_it() -> None:
    program = f"import rljob; print(rljob.start({JOB!r}).folder)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    job = rljob.attach(Path(done.stdout.strip()))
    assert isinstance(job, RunHandle)
    try:
        until(lambda: job.status.steps, "progress")
        pid = json.loads((job.folder / "process.json").read_text())["pid"]
        os.kill(pid, signal.SIGKILL)
        until(lambda: job.status.phase == "Stopped", "the end")
    finally:
        job.delete()


def test_what_only_a_role_finds_is_raised_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(json.dumps(JOB).replace("CartPole-v1", "Nope-v1"))
    job = rljob.start(file)
    with pytest.raises(rljob.InputError, match=r"job.yaml:1: environment.id: 'Nope-v1' is not"):
        job.wait(PATIENCE)
    assert not (tmp_path / "runs").exists()


def code_folder(root: Path, name: str = "code") -> Path:
    """A folder with a package in which an environment is."""
    package = root / name / "robots/arms"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "short.py").write_text(
        "import gymnasium\n"
        "from robots import limits\n\n"
        "def make():\n"
        "    return gymnasium.make('CartPole-v1', max_episode_steps=limits.STEPS)\n"
    )
    (package.parent / "limits.py").write_text("STEPS = 5\n")
    return root / name


def test_a_run_uses_a_copy_of_its_folder_of_code(tmp_path: Path) -> None:
    code = code_folder(tmp_path)
    spec = {
        **JOB["spec"],
        "environment": {"entryPoint": "robots.arms.short:make"},
        "stop": {"steps": 400},
    }
    job = rljob.start({**JOB, "spec": spec}, code=code)
    # The run has its own copy.
    (code / "robots/limits.py").write_text("raise ImportError('changed')\n")
    assert job.wait(PATIENCE).phase == "Complete"
    assert job.result().mean_return == 5
    assert (job.folder / "code/robots/limits.py").read_text() == "STEPS = 5\n"
    archive = rljob.load(job.folder / "job.yaml").spec.code_archive
    assert archive is not None
    origin = json.loads((job.folder / "provenance.json").read_text())
    assert origin["code"] == {"sha256": archive.sha256, "size": archive.size}
    assert job.policy().act(np.zeros(4, np.float32)) in (0, 1)
    # The same job with the same code goes on with it, and asks for no folder.
    with pytest.raises(rljob.InputError, match=r"^--code .*cannot be combined with --resume"):
        rljob.start(job.folder / "job.yaml", dir=job.folder, resume=True, code=code)
    before = job.result().steps
    more = rljob.run(
        job.folder / "job.yaml",
        dir=job.folder,
        resume=True,
        overrides=[f"stop.steps={before + 400}"],
    )
    assert (more.steps >= before + 400, more.mean_return) == (True, 5)
    with pytest.raises(rljob.InputError, match=r"job.yaml:\d+: codeArchive: the job was sent with"):
        rljob.start(job.folder / "job.yaml")


def test_wrong_arguments_are_told_before_anything_starts(tmp_path: Path) -> None:
    for call, message in (
        (lambda: rljob.start("nope.yaml"), "nope.yaml: no such file"),
        (lambda: rljob.start(7), "int is not a job: give a YAML file"),  # type: ignore[arg-type]
        (lambda: rljob.start(JOB, overrides=["stop.step=1"]), "Did you mean steps?"),
        (lambda: rljob.attach("runs/nope"), "runs/nope is not a run's folder: it has no job.yaml"),
        (lambda: rljob.attach(" "), "' ' names no job"),
    ):
        with pytest.raises(rljob.InputError) as caught:
            call()
        assert message in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_wrong_numbers_and_roles_are_told(tmp_path: Path) -> None:
    from rljob import spec
    from rljob.local.prepare import write_job

    (tmp_path / "run").mkdir()
    write_job(spec.parse(JOB), tmp_path / "run")
    job = rljob.attach(tmp_path / "run")
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: job.scale(0), "replicas: 0 is not allowed; a whole number from 1 to 10,000"),
        (lambda: job.scale(True), "replicas: True is not allowed"),
        (
            lambda: job.logs("lerner"),
            "role: 'lerner' is not a role of rljob. Did you mean learner?",
        ),
        (lambda: job.logs(tail=-1), "tail: -1 is not allowed"),
        (lambda: job.wait(-1), "timeout: -1 is not allowed"),
        (lambda: job.wait("1"), "timeout: '1' is not allowed"),  # type: ignore[arg-type]
    ]
    for call, message in calls:
        with pytest.raises(rljob.InputError) as caught:
            call()
        assert str(caught.value).startswith(message)
