"""The examples of applications: each one feeds its job, and what is compared with the policy is right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rljob.run_folder.names import APPLICATION_ACCESS
from tests.faults.runs import PATIENCE, Run
from tests.integration.programs import python, rljob_command

EXAMPLES = Path(__file__).parents[2] / "examples" / "applications"


@pytest.mark.parametrize(
    ("job", "script", "compare"),
    [
        ("scheduler/job.yaml", "scheduler/scheduler.py", "scheduler/compare.py"),
        ("cache/job.yaml", "cache/cache.py", "cache/compare.py"),
        ("lunarlander.yaml", "lunarlander.py", ""),
    ],
)
def test_a_job_learns_from_the_example(job: str, script: str, compare: str, tmp_path: Path) -> None:
    options = ("--plain", "--dir", "run", "--set", "stop.updates=2")
    with rljob_command("run", str(EXAMPLES / job), *options, folder=tmp_path) as process:
        run = Run(process, tmp_path / "run", tmp_path / "trace", tmp_path / "run.log")
        run.until((run.folder / APPLICATION_ACCESS).exists, "the run's start")
        arguments = (str(EXAMPLES / script), str(run.folder))
        with python(*arguments, folder=tmp_path, log="program.log") as beside:
            assert process.wait(PATIENCE) == 0, run.tell() + (tmp_path / "program.log").read_text()
            assert beside.poll() is None, (tmp_path / "program.log").read_text()
    if compare:
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / compare), str(run.folder), "2"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        assert [line.split()[0] for line in done.stdout.splitlines()][-1] == "learned"
