"""Lists and verifies the checkpoints in a folder; `rljob.checkpoints.checkpoint` writes them.

Needs neither numpy nor safetensors.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rljob.errors import InputError, RunError
from rljob.run_folder.names import CHECKPOINTS

FORMAT = 1
POLICY, LEARNER, STATE, MANIFEST = (
    "policy.safetensors",
    "learner.safetensors",
    "state.json",
    "manifest.json",
)
FILES = (POLICY, LEARNER, STATE)
"""Files listed in a manifest."""
_NAME = re.compile(r"(\d{12,})(?:\.(\d+))?")


class DamagedCheckpoint(RunError):
    """A checkpoint that differs from its manifest; the message names the file and both hashes."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as its manifest describes it.

    `sha256` is the manifest's own and so stands for the whole checkpoint. Where the manifest cannot be
    read it is empty, and everything but `path` and `version` is a guess.
    """

    path: Path
    version: int
    lineage: int
    steps: int
    time: str
    sha256: str
    files: dict[str, dict[str, Any]] = field(repr=False)


def checkpoints(folder: Path) -> list[Checkpoint]:
    """Every checkpoint below `folder`, newest first: by lineage, then version; damaged ones included.

    One whose manifest cannot be read counts to the newest lineage, as it may be the newest.
    """
    found: list[tuple[int, Checkpoint]] = []
    unreadable: list[tuple[int, Checkpoint]] = []
    for version, again, path in entries(Path(folder)):
        try:
            found.append((again, read_manifest(path)))
        except DamagedCheckpoint:
            unreadable.append((again, Checkpoint(path, version, 0, 0, "", "", {})))
    newest = max((one.lineage for _, one in found), default=0)
    found += [(again, replace(one, lineage=newest)) for again, one in unreadable]
    found.sort(key=lambda item: (item[1].lineage, item[1].version, item[0]), reverse=True)
    return [one for _, one in found]


def entries(folder: Path) -> list[tuple[int, int, Path]]:
    """(version, how often it was saved before, path) of each name that is a checkpoint's."""
    try:
        paths = list(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise RunError(f"cannot read the checkpoints in {folder}: {error.strerror}") from error
    matches = ((path, _NAME.fullmatch(path.name)) for path in paths)
    return [(int(match[1]), int(match[2] or 0), path) for path, match in matches if match]


def newest_whole(folder: Path, on_damaged: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint of which every byte is what was written; None when there is none.

    `on_damaged` is called with one message for each newer one that was refused.
    """
    for checkpoint in checkpoints(folder):
        try:
            whole = read_manifest(checkpoint.path)
            verify(whole)
        except DamagedCheckpoint as error:
            # Gone means that a learner deleted it meanwhile, as it does with old ones.
            if checkpoint.path.exists():
                on_damaged(str(error))
        else:
            return whole
    return None


def find(path: Path, on_damaged: Callable[[str], None]) -> Checkpoint:
    """The checkpoint in a run's folder, in a folder of checkpoints, or that is this folder.

    Of several, the newest whole one is taken; see `newest_whole` for `on_damaged`. Raises InputError
    when there is no checkpoint at `path`, DamagedCheckpoint when `path` is one whose manifest is damaged.
    """
    found: Checkpoint | None
    if path.is_dir() and ((path / MANIFEST).exists() or is_name(path.resolve().name)):
        found = read_manifest(path)
    else:
        inner = path / CHECKPOINTS
        found = newest_whole(inner if inner.is_dir() else path, on_damaged)
    if found is None:
        raise InputError(
            f"no whole checkpoint in {path}; "
            "give a run's folder, its checkpoints folder, or one checkpoint in it"
        )
    return found


def is_name(name: str) -> bool:
    """Whether a checkpoint may be called so."""
    return _NAME.fullmatch(name) is not None


def read_manifest(path: Path) -> Checkpoint:
    """What the manifest says, not yet compared with the files; raises DamagedCheckpoint when it cannot
    be understood."""
    data = _bytes(path, MANIFEST)
    try:
        raw = json.loads(data)
        if raw["format"] != FORMAT:
            raise DamagedCheckpoint(
                f"checkpoint {path} has format {raw['format']!r}; this rljob reads {FORMAT}"
            )
        checkpoint = Checkpoint(
            path=path,
            version=int(raw["policyVersion"]),
            lineage=int(raw["lineage"]),
            steps=int(raw["steps"]),
            time=str(raw["time"]),
            sha256=hashlib.sha256(data).hexdigest(),
            files={
                name: {"size": raw["files"][name]["size"], "sha256": raw["files"][name]["sha256"]}
                for name in FILES
            },
        )
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise DamagedCheckpoint(
            f"damaged checkpoint {path}: {MANIFEST} cannot be understood ({error!r})"
        ) from error
    match = _NAME.fullmatch(path.name)
    if match is not None and int(match[1]) != checkpoint.version:
        raise DamagedCheckpoint(
            f"damaged checkpoint {path}: {MANIFEST} belongs to policy version {checkpoint.version}"
        )
    return checkpoint


def verify(checkpoint: Checkpoint) -> None:
    """Raise DamagedCheckpoint unless every file is the one that the manifest describes."""
    for name in (POLICY, LEARNER):
        read_file(checkpoint, name)
    read_values(checkpoint)


def read_values(checkpoint: Checkpoint) -> dict[str, Any]:
    """The learner's values; the numbers that the manifest repeats must be the same ones."""
    state = json.loads(read_file(checkpoint, STATE))
    said = (checkpoint.version, checkpoint.lineage, checkpoint.steps)
    if said != (state["policyVersion"], state["lineage"], state["steps"]):
        raise DamagedCheckpoint(
            f"damaged checkpoint {checkpoint.path}: {MANIFEST} and {STATE} disagree"
        )
    values: dict[str, Any] = state["values"]
    return values


def read_file(checkpoint: Checkpoint, name: str) -> bytes:
    """One of `FILES`; raises DamagedCheckpoint when it is missing or another."""
    data = _bytes(checkpoint.path, name)
    found = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    expected = checkpoint.files.get(name)
    if expected is None:
        raise DamagedCheckpoint(f"damaged checkpoint {checkpoint.path}: {MANIFEST} cannot be read")
    if found != expected:
        raise DamagedCheckpoint(
            f"damaged checkpoint {checkpoint.path}: {name} has {found['size']} bytes and sha256 "
            f"{found['sha256']}, but its manifest says {expected['size']} and {expected['sha256']}"
        )
    return data


def _bytes(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except FileNotFoundError:
        raise DamagedCheckpoint(f"damaged checkpoint {path}: {name} is missing") from None
    except OSError as error:
        raise DamagedCheckpoint(
            f"damaged checkpoint {path}: {name} cannot be read: {error.strerror}"
        ) from error
