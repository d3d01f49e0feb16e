"""A folder of code in pods: each role unpacks the parts that are mounted before it imports anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rljob.code_folder.pack import CodeArchive, pack
from rljob.errors import InputError
from tests.integration.pods import running

pytestmark = pytest.mark.timeout(600)


def mounted(root: Path) -> tuple[CodeArchive, Path]:
    """A packed folder with a package in which an environment is, and its parts as a pod has them."""
    package = root / "source/robots/arms"
    package.mkdir(parents=True)
    (package / "short.py").write_text(
        "import gymnasium\n"
        "from robots.limits import STEPS\n\n"
        "def make():\n"
        "    return gymnasium.make('CartPole-v1', max_episode_steps=STEPS)\n"
    )
    (package.parent / "limits.py").write_text("STEPS = 5\n")
    packed = pack(root / "source")
    parts = root / "parts"
    parts.mkdir()
    for index, part in enumerate(packed.parts()):
        (parts / str(index)).write_bytes(part)
    return packed, parts


def test_roles_import_from_the_folder_that_was_sent(tmp_path: Path) -> None:
    packed, parts = mounted(tmp_path)
    archive = {"sha256": packed.sha256, "size": len(packed.data)}
    with running(
        tmp_path,
        environment={"entryPoint": "robots.arms.short:make"},
        codeArchive=archive,
        stop={"steps": 500},
    ) as job:
        for role in ("buffer", "rollout", "learner"):
            files = tmp_path / f"{role}-files" / packed.sha256[:16]
            files.parent.mkdir()
            options = ("--code-parts", str(parts), "--code-files", str(files))
            variables = {**os.environ, "PYTHONPATH": f"{files}:{os.environ.get('PYTHONPATH', '')}"}
            job.start(role, "", *options, variables=variables)
        learner = job.pods[-1]
        assert learner.wait() == 0, job.tell()
        report = learner.ended()["report"]
        assert report["progress"]["meanReturn"] == 5
        # A container that starts again in the same pod has the folder.
        again = job.start(
            "rollout", "", *options[:2], "--code-files", str(files), variables=variables
        )
        job.until(lambda: again.ask("/healthz")[0] == 200, "a second start")


def test_a_folder_that_is_not_the_jobs_ends_the_role_as_wrong_input(tmp_path: Path) -> None:
    packed, parts = mounted(tmp_path)
    archive = {"sha256": "0" * 64, "size": len(packed.data)}
    with running(tmp_path, codeArchive=archive) as job:
        files = tmp_path / "files"
        pod = job.start("learner", "", "--code-parts", str(parts), "--code-files", str(files))
        assert pod.wait() == InputError.exit_code, job.tell()
        end = pod.ended()
        assert end["message"].startswith("codeArchive: the archive of the folder that was sent")
        assert not files.exists()
