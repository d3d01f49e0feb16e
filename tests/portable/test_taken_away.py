"""The processes of a run have no more than macOS has. Without this, all other tests here would say nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rljob import system

pytestmark = pytest.mark.skipif(
    system.can_fork(), reason="make test-portable takes Linux' calls away"
)
MODULE = """
import os
from gymnasium.envs.classic_control import CartPoleEnv
from sitecustomize import MISSING

print("calls that are there:", [name for module, names in MISSING.items() for name in names if hasattr(module, name)])
print("parent is the launcher:", "launcher" in open(f"/proc/{os.getppid()}/cmdline").read())
print("own program:", "rljob.local.programs" in open("/proc/self/cmdline").read())
Env = CartPoleEnv
"""


def test_the_calls_are_gone_here() -> None:
    for module, names in sys.modules["sitecustomize"].MISSING.items():
        assert [name for name in names if hasattr(module, name)] == []
    assert system.MAX_SOCKET_PATH_BYTES == 103
    assert system.waited_for_core() == 0.0
    with pytest.raises(OSError, match="no anonymous shared memory"):
        system.shared_memory("name")


def test_the_calls_are_gone_in_every_role(tmp_path: Path) -> None:
    (tmp_path / "telling.py").write_text(MODULE)
    (tmp_path / "job.yaml").write_text(
        "metadata: {name: telling}\n"
        "spec:\n"
        "  environment: {entryPoint: 'telling:Env'}\n"
        "  algorithm: {name: PPO}\n"
        "  stop: {steps: 5000}\n"
    )
    command = [sys.executable, "-P", "-m", "rljob", "run", "job.yaml", "--plain", "--dir", "r"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    log = (tmp_path / "r" / "logs" / "rollout-0.log").read_text()
    assert "calls that are there: []" in log
    assert "parent is the launcher: True" in log
    assert "own program: True" in log
