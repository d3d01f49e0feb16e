"""Writes and reads checkpoints atomically; a damaged checkpoint is never loaded.

    checkpoints/
      000000000150/            one checkpoint, named after its policy version
        policy.safetensors     what a rollout acts with
        learner.safetensors    parameters, optimizer, random states
        state.json             counters, schedules, the consumed watermark
        manifest.json          size and sha256 of the three files above
      latest -> 000000000150   for people; the loader does not follow it

A checkpoint is written under a name that starts with `.tmp-`, which the loader never looks at. Its
files and its folder are fsynced, read back and compared with the manifest; only then is it renamed to
its name, the folder above fsynced, `latest` moved, and what is older than the last `keep` whole ones
deleted. So a process may be killed anywhere: what it leaves is swept by the next save.

A name that is taken is never overwritten. When the version was saved before with the same content
(say, at an interval and again at the end), that checkpoint is returned; otherwise, as after resuming
from an older one, the new one is called `<version>.1`, `.2`, and so on, and counts as newer.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from rljob import system
from rljob.checkpoints.manifest import (
    FILES,
    FORMAT,
    LEARNER,
    MANIFEST,
    POLICY,
    STATE,
    Checkpoint,
    DamagedCheckpoint,
    checkpoints,
    entries,
    find,
    newest_whole,
    read_file,
    read_manifest,
    read_values,
    verify,
)
from rljob.errors import RunError
from rljob.run_folder.names import LATEST
from rljob.version import __version__

DTYPES = (
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64", "complex64"),
)
__all__ = [
    "LEARNER",
    "MANIFEST",
    "POLICY",
    "STATE",
    "Checkpoint",
    "DamagedCheckpoint",
    "SavedPolicy",
    "Snapshot",
    "checkpoints",
    "load",
    "load_policy",
    "newest_whole",
    "save",
]
"""Re-exports the names of `rljob.checkpoints.manifest`."""

LOCK_SECONDS = 120.0
"""Seconds to wait for the folder's lock: a network file system holds the lock of a lost machine until its
lease expires."""
_LOCK_EVERY = 0.2
_TEMPORARY = ".tmp-"
_LOG = logging.getLogger(__name__)

Tensors = dict[str, np.ndarray]
FileParts = list[bytes | memoryview]
Content = dict[str, FileParts]


@dataclass(frozen=True)
class Snapshot:
    """What one checkpoint holds.

    Args:
        version: policy version, 0 or more.
        lineage: how often the learner was started for this run; a higher one is newer.
        policy: arrays that a rollout acts with.
        tensors: the learner's own: parameters, optimizer, random states.
        values: the learner's own as JSON; NaN and the infinities are kept, keys must be text.
        steps: environment steps trained on so far, for people who list checkpoints.
    """

    version: int
    lineage: int
    policy: Tensors
    tensors: Tensors
    values: dict[str, Any]
    steps: int = 0


@dataclass(frozen=True)
class SavedPolicy:
    """A policy read for acting, and the checkpoint that it came from."""

    version: int
    tensors: Tensors
    path: Path


# ---- saving


def save(folder: Path, snapshot: Snapshot, keep: int) -> Checkpoint:
    """Write a checkpoint below `folder`, then delete all but the last `keep` whole ones.

    Raises RunError, naming the path, when the disk is full or fails, when another process is saving
    here, or when the snapshot holds what safetensors or JSON cannot. The checkpoints before it are then
    untouched. When the error came after the rename, the new one is whole and stays.
    """
    if keep < 1 or snapshot.version < 0:
        raise ValueError(
            f"keep must be at least 1 and version at least 0: {keep}, {snapshot.version}"
        )
    folder = Path(folder)
    content: Content = {
        POLICY: _tensor_parts("policy", snapshot.policy),
        LEARNER: _tensor_parts("learner state", snapshot.tensors),
        STATE: [_state_text(snapshot)],
    }
    try:
        with _saving_alone(folder):
            saved = _write(folder, snapshot, content)
            _point_latest(folder, saved)
            _delete_older(folder, keep, saved)
            return saved
    except OSError as error:
        path = error.filename or folder
        hint = "; free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise RunError(
            f"cannot save the checkpoint of policy version {snapshot.version}: "
            f"{path}: {error.strerror or error}{hint}"
        ) from error


@contextmanager
def _saving_alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that every temporary name in it was left behind by a dead process."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _sync_folder(folder.parent)
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _lock(lock, folder)
        _sweep(folder)
        try:
            yield
        finally:
            _sweep(folder)
    finally:
        os.close(lock)


def _lock(lock: int, folder: Path) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise RunError(f"another process is saving a checkpoint in {folder}") from error
        except OSError as error:
            # A file system without locks: that one learner writes here is then up to the supervisor.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            return
        time.sleep(_LOCK_EVERY)


def _write(folder: Path, snapshot: Snapshot, content: Content) -> Checkpoint:
    temporary = folder / f"{_TEMPORARY}{uuid.uuid4().hex}"
    temporary.mkdir()
    files = {name: _write_file(temporary / name, parts) for name, parts in content.items()}
    manifest = {
        "format": FORMAT,
        "rljob": __version__,
        "policyVersion": snapshot.version,
        "lineage": snapshot.lineage,
        "steps": snapshot.steps,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "files": files,
    }
    _write_file(temporary / MANIFEST, [json.dumps(manifest, indent=1).encode()])
    _sync_folder(temporary)
    verify(read_manifest(temporary))
    name = f"{snapshot.version:012d}"
    taken = max(
        (again for version, again, _ in entries(folder) if version == snapshot.version), default=-1
    )
    if taken >= 0:
        there = folder / (f"{name}.{taken}" if taken else name)
        if _holds(there, files):
            return read_manifest(there)
        name = f"{name}.{taken + 1}"
    temporary.rename(folder / name)
    _sync_folder(folder)
    return read_manifest(folder / name)


def _holds(path: Path, files: dict[str, dict[str, Any]]) -> bool:
    try:
        there = read_manifest(path)
        verify(there)
    except DamagedCheckpoint:
        return False
    return there.files == files


def _point_latest(folder: Path, checkpoint: Checkpoint) -> None:
    temporary = folder / f"{_TEMPORARY}{uuid.uuid4().hex}"
    temporary.symlink_to(checkpoint.path.name)
    temporary.replace(folder / LATEST)
    _sync_folder(folder)


def _delete_older(folder: Path, keep: int, saved: Checkpoint) -> None:
    """Count whole checkpoints from the newest; those after the last that is kept go, but never
    `saved`, which was verified before it got its name."""
    found = checkpoints(folder)
    whole = 0
    for checkpoint in found if len(found) > keep else ():
        if whole >= keep and checkpoint.path != saved.path:
            # Out of the loader's sight at once: a deletion cut short leaves no damaged checkpoint.
            removed = folder / f"{_TEMPORARY}{checkpoint.path.name}"
            checkpoint.path.rename(removed)
            shutil.rmtree(removed)
            continue
        whole += checkpoint.path == saved.path or _is_whole(checkpoint.path, _identity(checkpoint))


@lru_cache(maxsize=256)
def _is_whole(path: Path, _identity: tuple[object, ...]) -> bool:
    """Read each kept checkpoint once and not at each save; again when one of its files is another."""
    try:
        verify(read_manifest(path))
    except DamagedCheckpoint:
        return False
    return True


def _identity(checkpoint: Checkpoint) -> tuple[object, ...]:
    """Differs once a file of the checkpoint was written or replaced."""
    found: list[object] = []
    for name in (MANIFEST, *FILES):
        try:
            status = (checkpoint.path / name).stat()
        except OSError as error:
            found.append(error.errno)
        else:
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


def _sweep(folder: Path) -> None:
    for path in folder.glob(f"{_TEMPORARY}*"):
        if path.is_symlink():
            path.unlink(missing_ok=True)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _write_file(path: Path, parts: FileParts) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        for part in parts:
            digest.update(part)
            size += len(part)
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
        # Verifying reads the disk and not the memory.
        system.drop_cached(descriptor)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        os.close(descriptor)
    return {"size": size, "sha256": digest.hexdigest()}


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        os.close(descriptor)


# ---- what is in the files


def _tensor_parts(what: str, tensors: Tensors) -> FileParts:
    """The bytes of a safetensors file: the same ones for the same tensors, on every run."""
    plain = {}
    for name, tensor in tensors.items():
        if tensor.dtype.name not in DTYPES:
            raise RunError(
                f"cannot save the checkpoint: {what} tensor {name!r} has dtype {tensor.dtype}; "
                f"a checkpoint holds {', '.join(DTYPES)}"
            )
        plain[name] = np.asarray(tensor, dtype=tensor.dtype.newbyteorder("="), order="C")
    try:
        data = memoryview(safetensors.numpy.save(plain))
    except (safetensors.SafetensorError, TypeError) as error:
        raise RunError(f"cannot save the checkpoint: {what}: {error}") from error
    return [data]


def _state_text(snapshot: Snapshot) -> bytes:
    state = {
        "policyVersion": snapshot.version,
        "lineage": snapshot.lineage,
        "steps": snapshot.steps,
        "values": snapshot.values,
    }
    try:
        return json.dumps(state).encode()
    except (TypeError, ValueError) as error:
        raise RunError(f"cannot save the checkpoint: learner values: {error}") from error


def _tensors(data: bytes) -> Tensors:
    loaded: Tensors = safetensors.numpy.load(data)
    return dict(sorted(loaded.items()))


# ---- loading


def load(path: Path) -> Snapshot:
    """Read one checkpoint; tensors come writable and in the order of their names.

    Raises DamagedCheckpoint when any file is missing or not the one that was written.
    """
    checkpoint = read_manifest(Path(path))
    policy = read_file(checkpoint, POLICY)
    return Snapshot(
        version=checkpoint.version,
        lineage=checkpoint.lineage,
        policy=_tensors(policy),
        tensors=_tensors(read_file(checkpoint, LEARNER)),
        values=read_values(checkpoint),
        steps=checkpoint.steps,
    )


def load_policy(path: Path, on_damaged: Callable[[str], None] = _LOG.warning) -> SavedPolicy:
    """Read the policy of a run's folder, of a folder of checkpoints, or of one checkpoint.

    Raises as `manifest.find`, and DamagedCheckpoint when the policy is damaged.
    """
    found = find(Path(path), on_damaged)
    data = read_file(found, POLICY)
    return SavedPolicy(found.version, _tensors(data), found.path)
