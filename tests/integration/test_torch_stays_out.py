"""In a running job only the learner holds torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.runs import job, running

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux' /proc"),
]


def test_rollouts_and_buffer_run_without_torch(tmp_path: Path) -> None:
    with running(tmp_path, job({"name": "PPO"})) as run:
        maps = {
            role: Path(f"/proc/{run.pid(role)}/maps").read_text()
            for role in ("rollout-0", "rollout-1", "buffer-0", "learner-0")
        }
        holds = {role: "libtorch" in text for role, text in maps.items()}
        assert holds == {
            "rollout-0": False,
            "rollout-1": False,
            "buffer-0": False,
            "learner-0": True,
        }
        run.stop()


def test_nobody_starts_torch_for_a_table(tmp_path: Path) -> None:
    content = job({"name": "QLearning"}, environment={"id": "Taxi-v4"})
    with running(tmp_path, content) as run:
        for role in ("rollout-0", "buffer-0", "learner-0"):
            assert "libtorch" not in Path(f"/proc/{run.pid(role)}/maps").read_text()
        run.stop()
