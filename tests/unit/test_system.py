"""What differs between operating systems, and what rljob does where a call of Linux is missing."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rljob import system

WINDOWS = """
import sys
sys.platform = "win32"
for name in ("fcntl", "resource", "termios"):
    sys.modules[name] = None
"""


@pytest.fixture
def without_fallocate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate")


@pytest.mark.usefixtures("without_fallocate")
def test_space_is_reserved_where_no_call_does_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "_BLOCK", bytes(4096))
    with (tmp_path / "file").open("w+b") as file:
        system.reserve(file.fileno(), 10_001)
        found = os.fstat(file.fileno())
    assert found.st_size == 10_001
    assert found.st_blocks * 512 >= 10_001


@pytest.mark.usefixtures("without_fallocate")
def test_more_than_the_disk_has_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            system.reserve(file.fileno(), 2**42)
        assert os.fstat(file.fileno()).st_blocks == 0


def test_without_shared_memory_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    with pytest.raises(OSError, match="no anonymous shared memory"):
        system.shared_memory("name")


def test_cores_without_affinity_are_those_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert system.usable_cores(tmp_path) == 7


def test_a_limit_of_descriptors_that_is_refused_is_asked_for_smaller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = []

    def setrlimit(_: int, wanted: tuple[int, int]) -> None:
        limits.append(wanted[0])
        if wanted[0] > 10_240:
            raise ValueError("invalid argument")

    infinity = resource.RLIM_INFINITY
    fake = SimpleNamespace(
        getrlimit=lambda _: (256, infinity),
        setrlimit=setrlimit,
        RLIMIT_NOFILE=resource.RLIMIT_NOFILE,
        RLIM_INFINITY=infinity,
    )
    monkeypatch.setitem(sys.modules, "resource", fake)  # type: ignore[arg-type]
    system.raise_descriptor_limit(65_536)
    assert limits == [65_536, 10_240]


@pytest.mark.parametrize("words", [["run", "--env", "CartPole-v1"], ["status"], ["--help"]])
def test_windows_is_refused_in_one_sentence(words: list[str]) -> None:
    code = f"{WINDOWS}\nfrom rljob.cli.main import main\nsys.exit(main({words!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "rljob runs on Linux and macOS; on Windows, install it in WSL 2 (`wsl --install`)\n"
    )


def test_windows_is_refused_from_python() -> None:
    code = f"{WINDOWS}\nimport rljob\nrljob.run"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "RunError: rljob runs on Linux and macOS" in done.stderr
