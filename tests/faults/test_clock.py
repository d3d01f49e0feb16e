"""Set the wall clock of a running job: training goes on, nothing expires, and nothing is lost."""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.judging import PPO, judged
from tests.faults.runs import running

HOUR = 3600.0
compiler = shutil.which("cc") or shutil.which("gcc")


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file whose one double moves the wall clock, in seconds, of all processes that the test starts."""
    if compiler is None:
        pytest.skip("moving a process's clock needs a C compiler")
    library, offset = tmp_path / "clock.so", tmp_path / "offset"
    source = Path(__file__).with_name("clock.c")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    set_clock(offset, 0.0)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("WALL_CLOCK_OFFSET", str(offset))
    return offset


def set_clock(offset: Path, seconds: float) -> None:
    with offset.open("r+b" if offset.exists() else "wb") as file:
        file.write(struct.pack("d", seconds))


def test_a_clock_that_jumps_ends_nothing(tmp_path: Path, clock: Path) -> None:
    with running(tmp_path, PPO) as run:
        pids = {role: run.pid(role) for role in ("rollout-0", "buffer-0", "learner-0")}
        for seconds in (HOUR, -HOUR, 24 * HOUR):
            set_clock(clock, seconds)
            updates = int(run.records()[-1]["updates"])
            run.until(
                lambda least=updates + 20: int(run.records()[-1]["updates"]) >= least,
                "20 more updates",
            )
        assert run.records()[-1]["time"] > time.time() + HOUR, "the clock did not move"
        assert {role: run.pid(role) for role in pids} == pids, run.tell()
        judged(run)
