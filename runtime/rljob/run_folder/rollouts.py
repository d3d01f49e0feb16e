"""`rollouts.json`: the number of rollouts that was asked for while a run worked."""

from __future__ import annotations

from pathlib import Path

from rljob.errors import RunError
from rljob.run_folder import json_files
from rljob.run_folder.names import ROLLOUTS
from rljob.spec import RLJobSpec
from rljob.spec.roles import RoleName, role_counts

_WANTED = "replicas"


def ask(folder: Path, replicas: int) -> None:
    """Ask the run in this folder for a number of rollouts; it also holds when the run is resumed.

    Raises:
        RunError: the folder cannot be written.
    """
    try:
        json_files.write(folder / ROLLOUTS, {_WANTED: replicas})
    except OSError as error:
        raise RunError(f"cannot write to the run's folder {folder}: {error.strerror}") from error


def asked(folder: Path) -> int | None:
    """The number that was asked for; None if none was."""
    found = (json_files.read(folder / ROLLOUTS) or {}).get(_WANTED)
    return found if type(found) is int and found >= 1 else None


def counts(spec: RLJobSpec, folder: Path) -> dict[RoleName, int]:
    """Processes that a run wants of each role."""
    found = role_counts(spec)
    if "rollout" in found:
        found["rollout"] = asked(folder) or found["rollout"]
    return found


def forget(folder: Path) -> None:
    """The job's own number of rollouts holds again."""
    (folder / ROLLOUTS).unlink(missing_ok=True)
