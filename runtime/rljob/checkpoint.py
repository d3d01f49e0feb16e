"""Checkpoints on disk: whole or not there, and never loaded when damaged.

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
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from rljob import __version__
from rljob.errors import InputError, RunError

FORMAT = 1
POLICY, LEARNER, STATE, MANIFEST = (
    "policy.safetensors",
    "learner.safetensors",
    "state.json",
    "manifest.json",
)
DTYPES = (
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64", "complex64"),
)
_TEMPORARY = ".tmp-"
_NAME = re.compile(r"(\d{12,})(?:\.(\d+))?")
_LOG = logging.getLogger(__name__)

Tensors = dict[str, np.ndarray]
Parts = list[bytes | memoryview]
Content = dict[str, Parts]


class DamagedCheckpoint(RunError):
    """A checkpoint that is not what was written; the message names the file and both hashes."""


@dataclass(frozen=True)
class Snapshot:
    """What one checkpoint holds.

    Args:
        version: policy version, 0 or more.
        lineage: how often the learner was started for this run; a higher one is newer.
        policy: tensors that a rollout acts with.
        policy_metadata: text kept in the header of `policy.safetensors`.
        tensors: the learner's own: parameters, optimizer, random states.
        values: the learner's own as JSON; NaN and the infinities are kept, keys must be text.
        steps: environment steps trained on so far, for people who list checkpoints.
    """

    version: int
    lineage: int
    policy: Tensors
    policy_metadata: dict[str, str]
    tensors: Tensors
    values: dict[str, Any]
    steps: int = 0


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


@dataclass(frozen=True)
class Policy:
    """A policy read for acting, and the checkpoint that it came from."""

    version: int
    tensors: Tensors
    metadata: dict[str, str]
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
        POLICY: _tensor_parts("policy", snapshot.policy, snapshot.policy_metadata),
        LEARNER: _tensor_parts("learner state", snapshot.tensors, {}),
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
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(f"another process is saving a checkpoint in {folder}") from error
        except OSError as error:
            # A file system without locks: that one learner writes here is then up to the supervisor.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        _sweep(folder)
        try:
            yield
        finally:
            _sweep(folder)
    finally:
        os.close(lock)


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
    _verify(_read_manifest(temporary))
    name = f"{snapshot.version:012d}"
    taken = max(
        (again for version, again, _ in _entries(folder) if version == snapshot.version), default=-1
    )
    if taken >= 0:
        there = folder / (f"{name}.{taken}" if taken else name)
        if _holds(there, files):
            return _read_manifest(there)
        name = f"{name}.{taken + 1}"
    temporary.rename(folder / name)
    _sync_folder(folder)
    return _read_manifest(folder / name)


def _holds(path: Path, files: dict[str, dict[str, Any]]) -> bool:
    try:
        there = _read_manifest(path)
        _verify(there)
    except DamagedCheckpoint:
        return False
    return there.files == files


def _point_latest(folder: Path, checkpoint: Checkpoint) -> None:
    temporary = folder / f"{_TEMPORARY}{uuid.uuid4().hex}"
    temporary.symlink_to(checkpoint.path.name)
    temporary.replace(folder / "latest")
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
        try:
            if checkpoint.path != saved.path:
                _verify(checkpoint)
        except DamagedCheckpoint:
            continue
        whole += 1


def _sweep(folder: Path) -> None:
    for path in folder.glob(f"{_TEMPORARY}*"):
        if path.is_symlink():
            path.unlink(missing_ok=True)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _write_file(path: Path, parts: Parts) -> dict[str, Any]:
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
        if hasattr(os, "posix_fadvise"):
            # Synced pages may be dropped, so that verifying reads the disk and not the memory.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
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


def _tensor_parts(what: str, tensors: Tensors, metadata: dict[str, str]) -> Parts:
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
        data = memoryview(safetensors.numpy.save(plain, metadata or None))
    except (safetensors.SafetensorError, TypeError) as error:
        raise RunError(f"cannot save the checkpoint: {what}: {error}") from error
    start = 8 + int.from_bytes(data[:8], "little")
    # safetensors orders the metadata at random.
    header = json.dumps(json.loads(bytes(data[8:start])), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    return [len(header).to_bytes(8, "little") + header, data[start:]]


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


def _metadata(data: bytes) -> dict[str, str]:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    found: dict[str, str] = header.get("__metadata__", {})
    return found


# ---- loading


def checkpoints(folder: Path) -> list[Checkpoint]:
    """Every checkpoint below `folder`, newest first: by lineage, then version; damaged ones included.

    One whose manifest cannot be read counts to the newest lineage, as it may be the newest.
    """
    found: list[tuple[int, Checkpoint]] = []
    unreadable: list[tuple[int, Checkpoint]] = []
    for version, again, path in _entries(Path(folder)):
        try:
            found.append((again, _read_manifest(path)))
        except DamagedCheckpoint:
            unreadable.append((again, Checkpoint(path, version, 0, 0, "", "", {})))
    newest = max((one.lineage for _, one in found), default=0)
    found += [(again, replace(one, lineage=newest)) for again, one in unreadable]
    found.sort(key=lambda item: (item[1].lineage, item[1].version, item[0]), reverse=True)
    return [one for _, one in found]


def _entries(folder: Path) -> list[tuple[int, int, Path]]:
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
            whole = _read_manifest(checkpoint.path)
            _verify(whole)
        except DamagedCheckpoint as error:
            # Gone means that a learner deleted it meanwhile, as it does with old ones.
            if checkpoint.path.exists():
                on_damaged(str(error))
        else:
            return whole
    return None


def load(path: Path) -> Snapshot:
    """Read one checkpoint; tensors come writable and in the order of their names.

    Raises DamagedCheckpoint when any file is missing or not the one that was written.
    """
    checkpoint = _read_manifest(Path(path))
    policy = _read(checkpoint, POLICY)
    return Snapshot(
        version=checkpoint.version,
        lineage=checkpoint.lineage,
        policy=_tensors(policy),
        policy_metadata=_metadata(policy),
        tensors=_tensors(_read(checkpoint, LEARNER)),
        values=_values(checkpoint),
        steps=checkpoint.steps,
    )


def load_policy(path: Path, on_damaged: Callable[[str], None] = _LOG.warning) -> Policy:
    """Read the policy of a run's folder, of a folder of checkpoints, or of one checkpoint.

    Of several, the newest whole one is taken; see `newest_whole` for `on_damaged`. Raises InputError
    when there is no checkpoint at `path`, DamagedCheckpoint when `path` is one that is damaged.
    """
    path = Path(path)
    found: Checkpoint | None
    if path.is_dir() and ((path / MANIFEST).exists() or _NAME.fullmatch(path.resolve().name)):
        found = _read_manifest(path)
    else:
        inner = path / "checkpoints"
        found = newest_whole(inner if inner.is_dir() else path, on_damaged)
    if found is None:
        raise InputError(
            f"no whole checkpoint in {path}; "
            "give a run's folder, its checkpoints folder, or one checkpoint in it"
        )
    data = _read(found, POLICY)
    return Policy(found.version, _tensors(data), _metadata(data), found.path)


def _read_manifest(path: Path) -> Checkpoint:
    """What the manifest says, not yet compared with the files."""
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
                for name in (POLICY, LEARNER, STATE)
            },
        )
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise DamagedCheckpoint(
            f"damaged checkpoint {path}: {MANIFEST} cannot be understood ({error!r})"
        ) from error
    match = _NAME.fullmatch(path.name)
    if match is not None and int(match[1]) != checkpoint.version:
        raise DamagedCheckpoint(
            f"damaged checkpoint {path}: {MANIFEST} is that of policy version {checkpoint.version}"
        )
    return checkpoint


def _verify(checkpoint: Checkpoint) -> None:
    for name in (POLICY, LEARNER):
        _read(checkpoint, name)
    _values(checkpoint)


def _values(checkpoint: Checkpoint) -> dict[str, Any]:
    """The learner's values; the numbers that the manifest repeats must be the same ones."""
    state = json.loads(_read(checkpoint, STATE))
    said = (checkpoint.version, checkpoint.lineage, checkpoint.steps)
    if said != (state["policyVersion"], state["lineage"], state["steps"]):
        raise DamagedCheckpoint(
            f"damaged checkpoint {checkpoint.path}: {MANIFEST} and {STATE} disagree"
        )
    values: dict[str, Any] = state["values"]
    return values


def _read(checkpoint: Checkpoint, name: str) -> bytes:
    data = _bytes(checkpoint.path, name)
    found = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    expected = checkpoint.files[name]
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
