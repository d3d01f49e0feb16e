"""Checkpoints that travel: the archive, what unpacking refuses, and the command that hands them out."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from rljob import spec
from rljob.checkpoints import checkpoint
from rljob.checkpoints.archive import Archive
from rljob.checkpoints.checkpoint import Snapshot
from rljob.checkpoints.unpack import unpack
from rljob.errors import InputError
from rljob.process import downloads
from rljob.roles.evaluator.play import find
from tests.unit.specs import job


def save(run: Path, version: int, values: int = 10) -> checkpoint.Checkpoint:
    tensors = {"a": np.full(values, version, np.float32)}
    made = Snapshot(version, 1, tensors, tensors, {"n": version}, 10 * version)
    return checkpoint.save(run / "checkpoints", made, keep=3)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "job.yaml").write_text(spec.dump(spec.parse(job())))
    save(folder, 1)
    save(folder, 2)
    return folder


def packed(run: Path) -> bytes:
    packed_run = Archive.of(run / "checkpoints", run / "job.yaml")
    try:
        data = b"".join(packed_run)
        assert len(data) == packed_run.size
        return data
    finally:
        packed_run.close()


def unpacked(data: bytes, folder: Path) -> checkpoint.Checkpoint:
    folder.mkdir(parents=True)
    return unpack(iter([data]), folder)


def test_what_is_unpacked_is_a_runs_folder(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "policy"
    found = unpacked(packed(run), target)
    assert (found.version, found.path) == (2, target / "checkpoints" / "000000000002")
    played, policy = find(target)
    assert played == spec.load(run / "job.yaml")
    assert policy.version == 2
    assert (policy.tensors["a"] == 2).all()
    assert (target / "checkpoints" / "latest" / "manifest.json").is_file()
    assert sorted(path.name for path in target.parent.iterdir()) == ["policy"]


def test_the_newest_that_is_whole_is_taken(run: Path, tmp_path: Path) -> None:
    (run / "checkpoints" / "000000000002" / "policy.safetensors").write_bytes(b"damaged")
    assert unpacked(packed(run), tmp_path / "out").version == 1
    (run / "checkpoints" / "000000000001" / "manifest.json").unlink()
    with pytest.raises(InputError, match="no whole checkpoint"):
        packed(run)
    assert downloads.checkpoint(run / "checkpoints", run / "job.yaml").status == 404
    assert downloads.checkpoint(run / "absent", run / "job.yaml").status == 404


def test_a_checkpoint_may_be_deleted_meanwhile(run: Path, tmp_path: Path) -> None:
    packed_run = Archive.of(run / "checkpoints", run / "job.yaml")
    parts = iter(packed_run)
    first = next(parts)
    for version in (3, 4, 5):
        save(run, version)
    assert not (run / "checkpoints" / "000000000002").exists()
    data = first + b"".join(parts)
    packed_run.close()
    assert unpacked(data, tmp_path / "out").version == 2


def serve(*options: str) -> tuple[subprocess.Popen[str], str]:
    """The command, and where it listens."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "rljob", "serve-checkpoint", "--host", "127.0.0.1", *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().split()[-1]


def test_the_command_hands_out_and_ends_by_itself(run: Path, tmp_path: Path) -> None:
    process, url = serve("--dir", str(run), "--port", "0", "--idle", "3")
    try:
        with urllib.request.urlopen(url, timeout=120) as answer:
            assert answer.headers["Content-Type"] == "application/x-tar"
            assert unpacked(answer.read(), tmp_path / "out").version == 2
        with urllib.request.urlopen(url.replace("checkpoint", "healthz"), timeout=120) as answer:
            assert answer.read() == b"ok\n"
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.communicate()


def test_the_command_takes_a_folder_of_checkpoints_and_the_job_from_elsewhere(
    run: Path, tmp_path: Path
) -> None:
    (run / "job.yaml").rename(tmp_path / "given.yaml")
    options = ["--dir", str(run / "checkpoints"), "--job", str(tmp_path / "given.yaml")]
    process, url = serve(*options, "--port", "0")
    try:
        with urllib.request.urlopen(url, timeout=120) as answer:
            assert unpacked(answer.read(), tmp_path / "out").version == 2
        (tmp_path / "given.yaml").unlink()
        with pytest.raises(urllib.error.HTTPError, match="500") as caught:
            urllib.request.urlopen(url, timeout=120)
        with caught.value as refusal:
            assert "given.yaml is missing" in refusal.read().decode()
        process.terminate()
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_large_one_while_others_ask(run: Path, tmp_path: Path) -> None:
    """Several at once, each more than one part long."""
    save(run, 7, values=2_000_000)
    process, url = serve("--dir", str(run), "--port", "0")
    versions: list[int] = []

    def fetch(number: int) -> None:
        with urllib.request.urlopen(url, timeout=120) as answer:
            versions.append(unpacked(answer.read(), tmp_path / f"out{number}").version)

    try:
        threads = [threading.Thread(target=fetch, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert versions == [7, 7, 7]
    finally:
        process.kill()
        process.communicate()


def test_records_that_grow_while_they_are_sent_are_whole_lines_of_that_moment(
    tmp_path: Path,
) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b"1\n")
    (tmp_path / "result.json").write_bytes(b"{}")
    answer = downloads.records(tmp_path)
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b"2\n" * 1000)
    data = b"".join(answer.parts)
    answer.close()
    assert len(data) == answer.size
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        sizes = {member.name: member.size for member in archive}
    assert sizes == {"metrics.jsonl": 2, "result.json": 2}
    assert downloads.records(tmp_path / "none").status == 404
