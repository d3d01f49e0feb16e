"""Memory that program and courier share: nothing is torn, the oldest gives way, and a new courier goes on."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rljob.application import ring
from rljob.application.ring import Control, FrameRing, PolicySlot
from rljob.errors import RunError

SIZE, NUMBERS, COUNT = 192, 3, 4
NONE = np.zeros((0, 3))


class Shared:
    """Both sides of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.control = Control(folder, make=True)
        self.program = FrameRing(folder, self.control, SIZE, NUMBERS, COUNT, make=True)
        self.courier = self.another()

    def another(self) -> FrameRing:
        control = Control(self.folder, make=False)
        return FrameRing(self.folder, control, SIZE, NUMBERS, COUNT, make=False)

    def put(self, number: int, records: np.ndarray = NONE) -> None:
        self.program.put(np.full(SIZE, number, np.uint8), records, (7, number))

    def taken(self) -> list[int]:
        found = []
        while (stamp := next(self.courier.waiting(), None)) is not None:
            payload = np.zeros(SIZE, np.uint8)
            assert self.courier.take(payload) is not None
            assert (payload == stamp[1]).all()
            found.append(stamp[1])
        return found


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    return Shared(tmp_path)


@pytest.mark.parametrize("mib", [64, 1024])
def test_a_container_with_little_shared_memory_uses_its_disk(
    mib: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, disk = tmp_path / "shm", tmp_path / "disk"
    memory.mkdir()
    disk.mkdir()
    free = {memory: mib, disk: 1}
    monkeypatch.setattr(ring, "MEMORY", memory)
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    monkeypatch.setattr(
        "os.statvfs", lambda place: SimpleNamespace(f_bavail=free[Path(place)], f_frsize=2**20)
    )
    assert ring.make_folder().parent == (memory if mib == 1024 else disk)


def test_without_a_place_on_disk_memory_is_used_however_small(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def none() -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(ring, "MEMORY", tmp_path)
    monkeypatch.setattr(ring, "LEAST_FREE", 2**62)
    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert ring.make_folder().parent == tmp_path
    monkeypatch.setattr(ring, "MEMORY", tmp_path / "none")
    with pytest.raises(RunError, match="mount an emptyDir at /tmp"):
        ring.make_folder()


def test_segments_come_in_order_with_their_records(shared: Shared) -> None:
    shared.put(1, np.array([[5.0, 2.0, 4.5]]))
    shared.put(2)
    assert next(shared.courier.waiting()) == (7, 1)
    payload = np.zeros(SIZE + 16, np.uint8)
    records = shared.courier.take(payload)
    assert records is not None
    assert records.tolist() == [[5.0, 2.0, 4.5]]
    assert shared.taken() == [2]
    assert shared.courier.empty


def test_the_oldest_gives_way_and_is_counted(shared: Shared) -> None:
    for number in range(1, 8):
        shared.put(number)
    assert shared.control.faults["evicted"] == 3
    assert shared.taken() == [4, 5, 6, 7]
    for number in range(8, 40):
        shared.put(number)
        assert shared.taken() == [number]
    assert shared.control.faults["evicted"] == 3


def test_a_frame_that_is_replaced_while_it_is_copied_is_left(shared: Shared) -> None:
    shared.put(1)
    assert next(shared.courier.waiting()) == (7, 1)
    for number in range(2, 6):
        shared.put(number)
    assert shared.courier.take(np.zeros(SIZE, np.uint8)) is None
    assert shared.taken() == [2, 3, 4, 5]
    assert shared.control.faults["evicted"] == 1


def test_one_that_is_too_old_is_skipped_and_counted(shared: Shared) -> None:
    shared.put(1)
    shared.put(2)
    next(shared.courier.waiting())
    shared.courier.skip_stale()
    assert shared.taken() == [2]
    assert shared.control.faults["stale"] == 1
    assert shared.control.faults["evicted"] == 0


def test_a_new_courier_goes_on_behind_the_last_that_was_taken(shared: Shared) -> None:
    for number in range(1, 7):
        shared.put(number)
        if number < 4:
            assert shared.taken() == [number]
    shared.courier = shared.another()
    assert shared.taken() == [4, 5, 6]


def test_versions_are_whole_and_the_newest(shared: Shared) -> None:
    written = PolicySlot(shared.folder, Control(shared.folder, make=False))
    read = PolicySlot(shared.folder, shared.control)
    assert not read.changed
    for number in range(4):
        written.write((9, number), bytes([number]) * 1000)
    assert read.changed
    assert read.read() == ((9, 3), b"\3" * 1000)
    assert not read.changed
    kept = sorted(path.name for path in shared.folder.glob("policy-*"))
    assert kept == ["policy-3", "policy-4"], "the one before may still be read"


def test_a_version_that_was_replaced_meanwhile_is_read_the_next_time(shared: Shared) -> None:
    written = PolicySlot(shared.folder, Control(shared.folder, make=False))
    read = PolicySlot(shared.folder, shared.control)
    written.write((9, 0), b"x")
    (shared.folder / "policy-1").unlink()
    assert read.read() is None
    assert read.changed
    written.write((9, 1), b"y")
    assert read.read() == ((9, 1), b"y")
