"""Runs a peer's script in the peer's own environment, and what such a process costs."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests.bench.group import Values
from tests.bench.machine import cpu_seconds, shared_mib, tree
from tests.bench.roles import ENVIRONMENT, ROOT

ENVIRONMENTS = ROOT / ".venv-bench"
"""One folder for each peer, made by `make` from tests/bench/peers/*.lock."""
TIMES = ("seconds", "reached", "ended")
ITS_OWN = {
    name: value
    for name, value in ENVIRONMENT.items()
    if name not in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
}
"""Environment variables of a peer: how many threads it uses is its own choice, or that of its script."""
GRACE = 120.0
"""Seconds beyond its cap in which a peer has to be ready and to end."""


class Missing(Exception):
    """A peer's environment is not there: it could not be installed, or nobody asked for it."""


def run(
    peer: str,
    task: str,
    seed: int,
    cap: float,
    *,
    settings: dict[str, Any] | None = None,
    threads: int = 1,
    endless: bool = False,
) -> Values:
    """One run of `tests/bench/peers/PEER.py`; a run that did not solve counts as the cap.

    Args:
        settings: in place of the peer's own.
        threads: of PyTorch in a process that has more than one; `tests.bench.threads` measures which is faster.
        endless: run until the cap, also when it solves before.

    Raises:
        Missing: the peer is not installed.
    """
    command = [python(peer), "-m", f"tests.bench.peers.{peer}"]
    command += [task, "--seed", str(seed), "--cap", str(cap), "--threads", str(threads)]
    if endless:
        command.append("--endless")
    if settings is not None:
        command += ["--settings", json.dumps(settings)]
    started = time.time()
    output, costs = watched(command, cap + GRACE, ITS_OWN)
    ended = time.time()
    said = json.loads(output.strip().splitlines()[-1])
    return costs | {
        **solving(said["solved"], said["seconds"], said["reached"] - started, ended - started, cap),
        **{name: value for name, value in said.items() if name not in ("solved", *TIMES)},
    }


def python(peer: str) -> str:
    """The interpreter of a peer's environment.

    Raises:
        Missing: the peer is not installed.
    """
    folder = ENVIRONMENTS / peer
    if not (folder / ".ready").exists():
        raise Missing(f"{peer} is not installed in {folder.relative_to(ROOT)}")
    return str(folder / "bin" / "python")


def solving(solved: bool, seconds: float, reached: float, ended: float, cap: float) -> Values:
    """Times of one run: from the first step, from the command, until the command had ended."""
    if not solved:
        seconds = reached = ended = cap
    return {"solved": float(solved), "seconds": seconds, "reached": reached, "ended": ended}


def watched(
    command: list[str], patience: float, environment: dict[str, str] = ENVIRONMENT
) -> tuple[str, Values]:
    """Standard output of a command; its CPU seconds, wall seconds and most memory (MiB), all its
    processes together.

    Raises:
        RuntimeError: it failed or hung; with the end of what it said.
    """
    before, started = _children_seconds(), time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        (Path(folder) / "errors").open("w+b") as errors,
    ):
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        tree = _Tree(process.pid)
        try:
            output, _ = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, 9)
            process.wait()
            raise RuntimeError(f"hung: {' '.join(command)}") from error
        finally:
            tree.end()
        if process.returncode:
            errors.seek(0)
            said = errors.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(command)} failed: {said}")
    wall = time.monotonic() - started
    return output, {
        # What nobody waited for is in no parent's account: Ray leaves its workers like that.
        "cpu": max(_children_seconds() - before, tree.cpu),
        "wall": wall,
        "memory MiB": tree.most_mib,
    }


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _Tree(threading.Thread):
    """Looks twice a second at what a process and those below it hold, and have used."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._over = pid, threading.Event()
        self._used: dict[int, float] = {}
        self.most_mib = 0.0
        self.start()

    @property
    def cpu(self) -> float:
        """CPU seconds of all that were seen, up to when each was seen last."""
        return sum(self._used.values())

    def run(self) -> None:
        while not self._over.wait(0.5):
            pids = tree(self._pid)
            self.most_mib = max(self.most_mib, sum(map(shared_mib, pids)))
            for pid in pids:
                with contextlib.suppress(OSError):
                    self._used[pid] = cpu_seconds(pid)

    def end(self) -> None:
        self._over.set()
        self.join()
