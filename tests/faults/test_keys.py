"""Keys are changed while a job trains: no acknowledged experience is lost, also when a role dies meanwhile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.judging import PPO, judged
from tests.faults.runs import PATIENCE, Run, running

pytestmark = pytest.mark.timeout(600)
SPEC = {**PPO, "spec": {**PPO["spec"], "evaluation": {"interval": "1s", "episodes": 1}}}


def rotating(run: Run) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rljob", "rotate-keys", str(run.folder)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=run.folder
    )


def rotated(run: Run, process: subprocess.Popen[str], generation: int) -> None:
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, f"{output}\n{run.tell()}"
    assert f"every role uses keys {generation}; older keys are refused" in output
    assert {path.name for path in (run.folder / "keys").iterdir()} == {"keys.json", str(generation)}


def test_new_keys_lose_nothing(tmp_path: Path) -> None:
    with running(tmp_path, SPEC, "--transport", "tcp") as run:
        pids = {role: run.pid(role) for role in ("buffer-0", "learner-0", "rollout-0")}
        rotated(run, rotating(run), 2)
        run.progress()
        assert pids == {role: run.pid(role) for role in pids}, "a role was restarted"
        process = rotating(run)
        run.kill("rollout-0", "buffer-0")
        rotated(run, process, 3)
        run.progress()
        judged(run)
    assert not (run.folder / "keys").exists()
