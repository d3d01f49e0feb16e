"""`provenance.json`: seed, git commit, machine and versions of a run; written when a learner starts."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from rljob import system
from rljob.run_folder import json_files
from rljob.run_folder.names import PROVENANCE

PACKAGES = ("rljob", "torch", "gymnasium", "numpy")
GIT_SECONDS = 2.0


def versions() -> dict[str, str]:
    """Versions of rljob and its dependencies."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def of(
    seed: int,
    device: str,
    cores: int,
    settings: Mapping[str, Any],
    code: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Provenance of the current process.

    Args:
        device: device of the learner, e.g. `cuda`.
        cores: number of cores available to the process.
        settings: those in use of algorithm and networks, defaults included.
        code: the folder that was sent with the job, if any: digest, size and git commit.
    """
    return {
        "seed": seed,
        "settings": dict(settings),
        "git": git_commit(Path.cwd()),
        **({"code": dict(code)} if code is not None else {}),
        "machine": {
            "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
            "processor": system.processor(),
            "cores": cores,
            "memory": _memory(),
            "device": device,
        },
        "versions": versions(),
    }


def git_commit(folder: Path) -> str | None:
    """The checked-out commit; `…, changed` with uncommitted changes; None outside a git repository."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}, changed" if changed else commit


def write(folder: Path, values: dict[str, Any]) -> None:
    """Write the file atomically."""
    json_files.write(folder / PROVENANCE, values)


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _memory() -> str | None:
    size = system.memory()
    return None if size is None else f"{size / 2**30:.1f} GiB"
