"""Checkpoints: what is loaded is what was saved, wherever the saving was cut short.

Run as a script, this file is the process that is killed: `python test_checkpoint.py FOLDER KIND`.
"""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rljob.checkpoints import checkpoint
from rljob.checkpoints.checkpoint import DamagedCheckpoint, Snapshot
from rljob.errors import InputError, RunError
from rljob.roles.learner.saving import Saver
from rljob.telemetry.metrics import LearnerMetrics

FILES = ("policy.safetensors", "learner.safetensors", "state.json", "manifest.json")
CALLS = (
    *("mkdir", "open", "write", "fsync", "close", "rename", "replace", "symlink"),
    *("unlink", "rmdir", "scandir", "listdir"),
)


def snapshot(version: int, lineage: int = 0, seed: int | None = None) -> Snapshot:
    rng = np.random.default_rng(version if seed is None else seed)
    return Snapshot(
        version=version,
        lineage=lineage,
        policy={"layer.0": rng.normal(size=(8, 4)).astype(np.float32)},
        tensors={
            "weights": rng.normal(size=(8, 4)),
            "step": np.array(version, np.int64),
            "random": rng.integers(0, 255, 64, np.uint8),
        },
        values={"watermark": {"rollout-0": [1, version]}, "best": -math.inf, "big": 2**100},
        steps=version * 10,
    )


def assert_same(one: Snapshot, other: Snapshot) -> None:
    for name in ("version", "lineage", "steps", "values"):
        assert getattr(one, name) == getattr(other, name)
    for mine, theirs in ((one.policy, other.policy), (one.tensors, other.tensors)):
        assert mine.keys() == theirs.keys()
        for key, array in mine.items():
            assert array.dtype == theirs[key].dtype
            assert array.shape == theirs[key].shape
            assert array.tobytes() == theirs[key].tobytes()


def refuse(message: str) -> None:
    raise AssertionError(message)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def newest(folder: Path) -> Snapshot:
    found = checkpoint.newest_whole(folder, refuse)
    assert found is not None
    return checkpoint.load(found.path)


# ---- what goes in comes out


def test_load_returns_what_was_saved(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path / "new" / "checkpoints", snapshot(7, lineage=2), keep=3)
    assert_same(checkpoint.load(saved.path), snapshot(7, lineage=2))
    assert saved.path.name == "000000000007"
    assert (saved.version, saved.lineage, saved.steps) == (7, 2, 70)
    assert os.readlink(saved.path.parent / "latest") == "000000000007"


@pytest.mark.parametrize(
    "array",
    [
        np.array(3.5),
        np.array(True),
        np.zeros((0, 4), np.float32),
        np.zeros((3, 0)),
        np.arange(12).reshape(3, 4).T,
        np.arange(10)[::-2],
        np.array([math.nan, -0.0, math.inf], np.float16),
        np.array([1 + 2j], np.complex64),
        np.array([2**64 - 1], np.uint64),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_every_array_survives(tmp_path: Path, array: np.ndarray) -> None:
    saved = checkpoint.save(tmp_path, Snapshot(1, 0, {}, {"array": array}, {}), keep=1)
    loaded = checkpoint.load(saved.path).tensors["array"]
    assert (loaded.dtype, loaded.shape) == (array.dtype, array.shape)
    assert loaded.tobytes() == array.tobytes()
    assert loaded.flags.writeable


def test_big_endian_is_stored_as_little(tmp_path: Path) -> None:
    array = np.array([1, 2, 3], ">i4")
    saved = checkpoint.save(tmp_path, Snapshot(1, 0, {}, {"array": array}, {}), keep=1)
    loaded = checkpoint.load(saved.path).tensors["array"]
    assert loaded.dtype == np.dtype("<i4")
    assert loaded.tolist() == [1, 2, 3]


@pytest.mark.parametrize("dtype", ["complex128", "object", "U3", "longdouble"])
def test_dtype_that_cannot_be_stored_is_named(tmp_path: Path, dtype: str) -> None:
    bad = Snapshot(1, 0, {}, {"moment": np.zeros(2).astype(dtype)}, {})
    with pytest.raises(RunError, match=r"learner state tensor 'moment' has dtype .*float32"):
        checkpoint.save(tmp_path, bad, keep=1)
    assert names(tmp_path) == []


def test_values_that_are_not_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"learner values: .*ndarray"):
        checkpoint.save(tmp_path, Snapshot(1, 0, {}, {}, {"a": np.zeros(1)}), keep=1)
    assert names(tmp_path) == []


def test_same_tensors_give_same_files(tmp_path: Path) -> None:
    found = {
        checkpoint.save(tmp_path / str(i), snapshot(1), keep=1).files["policy.safetensors"][
            "sha256"
        ]
        for i in range(8)
    }
    assert len(found) == 1


# ---- names, order and what is kept


def test_last_ones_are_kept(tmp_path: Path) -> None:
    for version in range(5):
        checkpoint.save(tmp_path, snapshot(version), keep=2)
    assert [one.version for one in checkpoint.checkpoints(tmp_path)] == [4, 3]
    assert names(tmp_path) == ["000000000003", "000000000004", "latest"]


def test_damaged_one_does_not_count_as_kept(tmp_path: Path) -> None:
    for version in (1, 2):
        checkpoint.save(tmp_path, snapshot(version), keep=2)
    (tmp_path / "000000000002" / "learner.safetensors").write_bytes(b"")
    checkpoint.save(tmp_path, snapshot(3), keep=2)
    assert names(tmp_path)[:3] == ["000000000001", "000000000002", "000000000003"]
    checkpoint.save(tmp_path, snapshot(4), keep=2)
    assert names(tmp_path)[:2] == ["000000000003", "000000000004"]


@pytest.mark.parametrize("manifest", [None, b"{", b"[]"])
def test_an_unreadable_manifest_stops_no_save(tmp_path: Path, manifest: bytes | None) -> None:
    for version in (1, 2, 3):
        checkpoint.save(tmp_path, snapshot(version), keep=3)
    path = tmp_path / "000000000003" / "manifest.json"
    if manifest is None:
        path.unlink()
    else:
        path.write_bytes(manifest)
    checkpoint.save(tmp_path, snapshot(4), keep=3)
    checkpoint.save(tmp_path, snapshot(5), keep=3)
    assert_same(newest(tmp_path), snapshot(5))


def test_a_resume_with_damaged_checkpoints_alone_is_refused(tmp_path: Path) -> None:
    saver = Saver(tmp_path, 3, LearnerMetrics())
    assert saver.newest() is None
    for version in (1, 2):
        checkpoint.save(tmp_path, snapshot(version), keep=3)
        (tmp_path / f"{version:012d}" / "learner.safetensors").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"no checkpoint can be resumed: damaged .*; 2 in .* are damaged"
    ):
        saver.newest()
    checkpoint.save(tmp_path, snapshot(3), keep=3)
    found = saver.newest()
    assert found is not None
    assert found.version == 3


def test_a_kept_one_is_read_once_and_again_when_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    real = checkpoint.verify
    monkeypatch.setattr(
        checkpoint, "verify", lambda found: (read.append(found.version), real(found))
    )
    for version in (1, 2, 3, 4):
        checkpoint.save(tmp_path, snapshot(version), keep=2)
    assert [read.count(version) for version in (1, 2, 3, 4)] == [1, 2, 2, 1]

    policy = tmp_path / "000000000004" / "policy.safetensors"
    policy.write_bytes(policy.read_bytes()[::-1])
    checkpoint.save(tmp_path, snapshot(5), keep=2)

    # The damaged one does not count: the one before it stays.
    assert [found.version for found in checkpoint.checkpoints(tmp_path)] == [5, 4, 3]


def test_saving_the_same_again_keeps_one(tmp_path: Path) -> None:
    first = checkpoint.save(tmp_path, snapshot(1), keep=3)
    assert checkpoint.save(tmp_path, snapshot(1), keep=3) == first
    assert names(tmp_path) == ["000000000001", "latest"]


def test_same_version_with_other_content_is_newer(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, snapshot(1), keep=3)
    again = checkpoint.save(tmp_path, snapshot(1, seed=9), keep=3)
    assert again.path.name == "000000000001.1"
    assert_same(newest(tmp_path), snapshot(1, seed=9))
    assert checkpoint.save(tmp_path, snapshot(1), keep=1).path.name == "000000000001.2"
    assert names(tmp_path) == ["000000000001.2", "latest"]
    assert_same(newest(tmp_path), snapshot(1))


def test_damaged_name_is_not_reused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, snapshot(1), keep=3)
    (tmp_path / "000000000001" / "state.json").write_text("{}")
    assert checkpoint.save(tmp_path, snapshot(1), keep=3).path.name == "000000000001.1"
    assert_same(newest(tmp_path), snapshot(1))


def test_higher_lineage_is_newer_than_higher_version(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, snapshot(10), keep=3)
    checkpoint.save(tmp_path, snapshot(20), keep=3)
    checkpoint.save(tmp_path, snapshot(11, lineage=1), keep=3)
    assert [one.version for one in checkpoint.checkpoints(tmp_path)] == [11, 20, 10]


def test_what_was_just_saved_is_never_deleted(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, snapshot(5), keep=2)
    checkpoint.save(tmp_path, snapshot(20), keep=2)
    checkpoint.save(tmp_path, snapshot(10), keep=1)
    assert names(tmp_path) == ["000000000010", "000000000020", "latest"]


def test_leftovers_are_swept_and_others_stay(tmp_path: Path) -> None:
    left = tmp_path / ".tmp-left"
    left.mkdir()
    (left / "policy.safetensors").write_bytes(b"x")
    (tmp_path / ".tmp-link").symlink_to("nowhere")
    (tmp_path / "notes.txt").write_text("mine")
    checkpoint.save(tmp_path, snapshot(1), keep=1)
    assert names(tmp_path) == ["000000000001", "latest", "notes.txt"]


def test_second_process_saving_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync
    inner: list[str] = []

    def save_within(descriptor: int) -> None:
        fsync(descriptor)
        with pytest.raises(RunError, match="another process is saving") as caught:
            checkpoint.save(tmp_path, snapshot(2), keep=1)
        inner.append(str(caught.value))

    tmp_path.joinpath("a").mkdir()
    monkeypatch.setattr(checkpoint, "LOCK_SECONDS", 0.0)
    monkeypatch.setattr(os, "fsync", save_within)
    checkpoint.save(tmp_path, snapshot(1), keep=1)
    assert inner
    assert_same(newest(tmp_path), snapshot(1))


# ---- damage


def damage(kind: str, file: Path) -> None:
    data = file.read_bytes()
    if kind == "missing":
        file.unlink()
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "truncated":
        file.write_bytes(data[:-1])
    elif kind == "longer":
        file.write_bytes(data + b"\0")
    else:
        file.unlink()
        file.mkdir()


@pytest.mark.parametrize("kind", ["missing", "empty", "truncated", "longer", "folder"])
@pytest.mark.parametrize("name", FILES)
def test_damaged_one_is_refused_by_name_and_the_one_before_used(
    tmp_path: Path, name: str, kind: str
) -> None:
    checkpoint.save(tmp_path, snapshot(1), keep=3)
    bad = checkpoint.save(tmp_path, snapshot(2), keep=3)
    damage(kind, bad.path / name)
    messages: list[str] = []
    found = checkpoint.newest_whole(tmp_path, messages.append)
    assert found is not None
    assert_same(checkpoint.load(found.path), snapshot(1))
    assert len(messages) == 1
    assert str(bad.path) in messages[0]
    assert name in messages[0]
    with pytest.raises(DamagedCheckpoint):
        checkpoint.load(bad.path)


def test_message_has_both_hashes(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path, snapshot(1), keep=1)
    (saved.path / "state.json").write_bytes(b"")
    of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    with pytest.raises(DamagedCheckpoint) as caught:
        checkpoint.load(saved.path)
    assert of_nothing in str(caught.value)
    assert saved.files["state.json"]["sha256"] in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path, name: str) -> None:
    saved = checkpoint.save(tmp_path, snapshot(1), keep=1)
    file = saved.path / name
    data = file.read_bytes()
    refused = 0
    for position in range(0, 8 * len(data), 13):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        file.write_bytes(flipped)
        try:
            assert_same(checkpoint.load(saved.path), snapshot(1))
        except DamagedCheckpoint:
            refused += 1
    # Only the manifest has parts that nothing depends on: its time, the version of rljob, blanks.
    assert refused == len(range(0, 8 * len(data), 13)) or name == "manifest.json"
    assert refused > 0


def test_manifest_of_another_version_is_refused(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path, snapshot(1), keep=1)
    saved.path.rename(tmp_path / "000000000009")
    with pytest.raises(DamagedCheckpoint, match="belongs to policy version 1"):
        checkpoint.load(tmp_path / "000000000009")


def test_later_format_is_refused(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path, snapshot(1), keep=1)
    manifest = json.loads((saved.path / "manifest.json").read_text())
    (saved.path / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(DamagedCheckpoint, match="format 99"):
        checkpoint.load(saved.path)


def test_nothing_there_is_nothing_found(tmp_path: Path) -> None:
    assert checkpoint.newest_whole(tmp_path / "none", refuse) is None
    assert checkpoint.checkpoints(tmp_path / "none") == []


# ---- the policy alone


def test_policy_from_run_folder_checkpoints_one_and_latest(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    checkpoint.save(folder, snapshot(1), keep=2)
    last = checkpoint.save(folder, snapshot(2), keep=2)
    for path in (tmp_path, folder, last.path, folder / "latest"):
        policy = checkpoint.load_policy(path, refuse)
        assert policy.version == 2
        assert policy.tensors["layer.0"].tobytes() == snapshot(2).policy["layer.0"].tobytes()


def test_policy_of_damaged_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    checkpoint.save(folder, snapshot(1), keep=2)
    last = checkpoint.save(folder, snapshot(2), keep=2)
    (last.path / "policy.safetensors").write_bytes(b"\0" * 16)
    messages: list[str] = []
    assert checkpoint.load_policy(tmp_path, messages.append).version == 1
    assert len(messages) == 1
    with pytest.raises(DamagedCheckpoint, match=r"policy\.safetensors"):
        checkpoint.load_policy(last.path)


def test_policy_where_none_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no whole checkpoint in .*nowhere"):
        checkpoint.load_policy(tmp_path / "nowhere")


# ---- a disk that fails, and a process that is killed, at every single step


def patch_calls(patch: Callable[[str, Callable[..., Any]], None], at: Callable[..., None]) -> None:
    """Call `at(name, arguments)` before each call that `rljob.checkpoints.checkpoint` makes to the file system."""

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **keywords: Any) -> Any:
            at(name, call, arguments)
            return call(*arguments, **keywords)

        return wrapper

    for name in CALLS:
        patch(name, counted(name, getattr(os, name)))


def prepared(folder: Path, kind: str) -> Snapshot:
    """A folder with one checkpoint in it; returns what is to be saved next."""
    checkpoint.save(folder, snapshot(1), keep=1)
    return snapshot(2) if kind == "next" else snapshot(1, lineage=1, seed=5)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("kind", ["next", "same version"])
def test_failing_call_leaves_old_or_new(tmp_path: Path, kind: str, code: int) -> None:
    step, failed = 0, True
    while failed:
        step += 1
        folder = tmp_path / str(step)
        new = prepared(folder, kind)
        failed = fails_at(step, code, folder, new)
        found = newest(folder)
        assert_same(found, new if found.lineage or found.version == 2 else snapshot(1))
        assert (found.lineage, found.version) == (new.lineage, new.version) or failed
        checkpoint.save(folder, snapshot(3, lineage=2), keep=1)
        assert names(folder) == ["000000000003", "latest"]
        shutil.rmtree(folder)
    assert step > 30


def fails_at(step: int, code: int, folder: Path, new: Snapshot) -> bool:
    """Save with the `step`-th call failing; True when it had as many calls."""
    calls: list[str] = []

    def fail(name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        calls.append(name)
        # A close that fails closes, so real ones are left alone.
        if len(calls) == step and name != "close":
            raise OSError(code, os.strerror(code))

    message = ""
    with pytest.MonkeyPatch.context() as patch:
        patch_calls(lambda name, call: patch.setattr(os, name, call), fail)
        try:
            checkpoint.save(folder, new, keep=1)
        except RunError as error:
            message = str(error)
    if message:
        assert str(folder) in message
        assert os.strerror(code) in message
        if message.startswith("cannot save"):  # Listing a folder needs no space.
            assert (code == errno.ENOSPC) == ("free some space" in message)
    # Only a removal that itself failed may leave something for the next save.
    if len(calls) >= step and calls[step - 1] not in ("scandir", "unlink", "rmdir", "open"):
        assert not [name for name in names(folder) if name.startswith(".tmp-")]
    return len(calls) >= step


def test_files_are_synced_before_they_get_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, snapshot(1), keep=1)
    seen: list[tuple[str, str]] = []

    def note(name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        if name == "fsync":
            seen.append((name, Path(os.readlink(f"/proc/self/fd/{arguments[0]}")).name))
        elif name in ("rename", "replace"):
            seen.append((name, Path(arguments[1]).name))

    with monkeypatch.context() as patch:
        patch_calls(lambda name, call: patch.setattr(os, name, call), note)
        checkpoint.save(tmp_path, snapshot(2), keep=1)
    steps = [what if name == "fsync" else f"{name} {what}" for name, what in seen]
    steps = ["temporary" if one.startswith(".tmp-") else one for one in steps]
    assert steps == [
        *FILES,
        "temporary",
        "rename 000000000002",
        tmp_path.name,
        "replace latest",
        tmp_path.name,
        "rename .tmp-000000000001",
    ]


@pytest.mark.parametrize("kind", ["next", "same version"])
def test_kill_at_every_step_leaves_old_or_new(tmp_path: Path, kind: str) -> None:
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path), kind],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    steps = done.stdout.split()
    for call in (
        "mkdir",
        "open",
        "write",
        "half",
        "fsync",
        "rename",
        "symlink",
        "replace",
        "unlink",
    ):
        assert call in steps
    assert steps.count("fsync") >= 7
    folders = list(tmp_path.iterdir())
    assert len(folders) == len(steps) + 1
    versions = set()
    for folder in folders:
        new = snapshot(2) if kind == "next" else snapshot(1, lineage=1, seed=5)
        found = newest(folder)
        is_new = (found.version, found.lineage) == (new.version, new.lineage)
        assert_same(found, new if is_new else snapshot(1))
        assert (folder / "latest" / "manifest.json").exists()
        versions.add(is_new)
        checkpoint.save(folder, snapshot(3, lineage=2), keep=1)
        assert names(folder) == ["000000000003", "latest"]
    assert versions == {True, False}


def kill_at(step: int, folder: Path, new: Snapshot) -> str:
    """Save in a child that is killed at its `step`-th call; the call's name, or "" if it had fewer."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        calls, write = itertools.count(1), os.write

        def at(name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
            for label in ("write", "half") if name == "write" else (name,):
                if next(calls) == step:
                    if label == "half":
                        call(arguments[0], arguments[1][: len(arguments[1]) // 2])
                    write(writer, label.encode())
                    os.kill(os.getpid(), signal.SIGKILL)

        patch_calls(lambda name, call: setattr(os, name, call), at)
        checkpoint.save(folder, new, keep=1)
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        label = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == (-signal.SIGKILL if label else 0)
    return label


def kill_at_every_step(folder: Path, kind: str) -> Iterator[str]:
    prepared(folder / "0", kind)
    for step in itertools.count(1):
        shutil.copytree(folder / "0", folder / str(step), symlinks=True)
        new = snapshot(2) if kind == "next" else snapshot(1, lineage=1, seed=5)
        label = kill_at(step, folder / str(step), new)
        if not label:
            shutil.rmtree(folder / "0")
            return
        yield label


if __name__ == "__main__":
    print(*kill_at_every_step(Path(sys.argv[1]), sys.argv[2]))
