"""The file of experience: whole after a kill at any moment, refused when it is not ours."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rljob.errors import RunError
from rljob.roles.buffer.arena import ACTORS, COUNTERS, Arena
from rljob.wire.delivery import Receiver

DESCRIPTION = {"layout": [["reward", "float32", [4, 2]]]}
BYTES = 64


def make(path: Path | None, slots: int = 4) -> Arena:
    return Arena.create(path, DESCRIPTION, slots, slots * BYTES)


def put(arena: Arena, slot: int, number: int) -> None:
    arena.begin(slot)
    arena.data.reshape(-1, BYTES)[slot] = number % 251
    arena.commit(slot, (1, 2, number), (3, number), float(number))


def reopen(path: Path) -> Arena:
    arena = Arena.open(path)
    assert arena is not None
    return arena


def test_everything_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "arena"
    arena = make(path)
    for number in range(6):
        put(arena, number % 4, number)
    arena.release(1)
    arena.count("steps", 12)
    arena.count("steps")
    arena.remember(9, Receiver(2, 5, 0b1010))
    again = reopen(path)
    assert (again.id, again.description) == (arena.id, DESCRIPTION)
    assert [int(again.slots["seq"][slot]) for slot in again.stored()] == [2, 3, 4]
    assert again.slots["version"][0] == 4
    assert (again.data.reshape(-1, BYTES)[0] == 4).all()
    assert again.counter("steps") == 13
    assert again.receiver(9) == Receiver(2, 5, 0b1010)
    assert again.receiver(10) == Receiver()
    put(again, 1, 6)
    assert list(again.stored())[-1] == 1


def test_each_arena_has_a_number_of_its_own() -> None:
    assert make(None).id != make(None).id


def test_every_counter_counts_alone() -> None:
    arena = make(None)
    for more, name in enumerate(COUNTERS, 1):
        arena.count(name, more)
    assert [arena.counter(name) for name in COUNTERS] == list(range(1, len(COUNTERS) + 1))


def test_a_slot_is_empty_while_it_is_written() -> None:
    arena = make(None)
    put(arena, 0, 1)
    arena.begin(0)
    assert list(arena.stored()) == []
    arena.commit(0, (1, 2, 3), (4, 5), 6.0)
    assert list(arena.stored()) == [0]


@pytest.mark.parametrize("step", range(3))
def test_a_kill_within_a_commit_leaves_no_torn_slot(tmp_path: Path, step: int) -> None:
    path = tmp_path / "arena"
    arena = make(path)
    put(arena, 0, 7)
    arena.begin(0)
    if step > 0:
        arena.data.reshape(-1, BYTES)[0, : BYTES // 2] = 99
    if step > 1:
        # All of the row but `stored`, which is written last.
        row = (0, arena.slots["order"][0] + 1, 1, 2, 8, 3, 8, 0.0)
        arena.slots[0] = row
    assert list(reopen(path).stored()) == []


def test_an_actors_row_is_the_old_one_until_it_is_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "arena"
    arena = make(path)
    arena.remember(1, Receiver(1, 10, 1))
    # Half of the next write: the other copy, not yet counted.
    row = arena._actors[arena._rows[1]]
    row["copy"][1 - int(row["which"])] = (1, 11, 99)
    assert reopen(path).receiver(1) == Receiver(1, 10, 1)
    arena.remember(1, Receiver(1, 12, 0))
    assert reopen(path).receiver(1) == Receiver(1, 12, 0)


def test_a_new_actor_that_was_not_finished_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "arena"
    arena = make(path)
    arena._actors["actor"][0] = 5
    arena._actors["copy"][0, 1] = (1, 2, 3)
    assert reopen(path).receiver(5) == Receiver()


def test_more_actors_than_rows_give_up_the_longest_unused() -> None:
    arena = make(None, slots=2)
    for actor in range(1, ACTORS + 1):
        put(arena, 0, actor)
        arena.remember(actor, Receiver(1, actor, 0))
    put(arena, 0, 0)
    arena.remember(1, Receiver(1, 500, 0))
    for actor in range(50_000, 50_010):
        put(arena, 0, 0)
        arena.remember(actor, Receiver(3, 3, 0))
    assert arena.receiver(1) == Receiver(1, 500, 0)
    assert [arena.receiver(actor) for actor in range(2, 12)] == [Receiver()] * 10
    assert arena.receiver(12) == Receiver(1, 12, 0)
    assert arena.receiver(50_009) == Receiver(3, 3, 0)


CHILD = """
import sys
from pathlib import Path
import numpy as np
from rljob.roles.buffer.arena import Arena
from rljob.wire.delivery import Receiver
arena = Arena.open(Path(sys.argv[1])) or Arena.create(Path(sys.argv[1]), {}, 8, 8 * 4096)
data, receiver = arena.data.reshape(8, 4096), arena.receiver(1)
seq = receiver.ack
while True:
    slot = seq % 8
    arena.begin(slot)
    data[slot] = seq % 251
    arena.commit(slot, (1, 1, seq), (0, seq), 0.0)
    receiver.commit(1, seq)
    arena.remember(1, receiver)
    arena.count("segments")
    seq += 1
    if seq % 64 == 0:
        print(seq, flush=True)
"""


def test_a_killed_writer_leaves_what_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "arena"
    before = 0
    for life in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        with child.stdout:
            acked = int(child.stdout.readline())
            for _ in range(life):
                acked = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            child.wait()
        arena = reopen(path)
        receiver = arena.receiver(1)
        assert receiver.ack >= acked > before
        before = receiver.ack
        held = list(arena.stored())
        seqs = [int(arena.slots["seq"][slot]) for slot in held]
        # All but one that was being replaced, gap-free, each with its own data; the newest may not
        # be recorded as arrived yet.
        assert len(held) >= 7
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
        assert seqs[-1] in (receiver.ack - 1, receiver.ack)
        for slot, seq in zip(held, seqs, strict=True):
            assert (arena.data.reshape(8, 4096)[slot] == seq % 251).all()
        assert receiver.ack - arena.counter("segments") <= life + 1


def test_there_may_be_nothing_yet(tmp_path: Path) -> None:
    path = tmp_path / "arena"
    assert Arena.open(path) is None
    path.write_bytes(b"")
    assert Arena.open(path) is None
    path.write_bytes(bytes(100_000))
    assert Arena.open(path) is None, "a file without a magic was never finished"


def cut(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def other_version(whole: bytes) -> bytes:
    return whole[:8] + b"\x63\0\0\0" + whole[12:]


def broken_json(whole: bytes) -> bytes:
    return whole.replace(b'{"layout"', b'{"lay\xff\xfft"')


def foreign(whole: bytes) -> bytes:
    return b"PK\x03\x04 something of somebody else's"


def only_magic(whole: bytes) -> bytes:
    return whole[:8]


@pytest.mark.parametrize("damage", [cut, other_version, broken_json, foreign, only_magic])
def test_a_damaged_file_is_refused_by_name_and_left_alone(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "arena"
    make(path)
    bad = damage(path.read_bytes())
    path.write_bytes(bad)
    with pytest.raises(RunError, match="arena"):
        Arena.open(path)
    assert path.read_bytes() == bad


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_names_the_setting_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RunError, match=r"lower buffer\.capacity"):
        make(tmp_path / "arena")
    assert list(tmp_path.iterdir()) == []


def test_an_absurd_size_is_an_error_with_the_same_advice(tmp_path: Path) -> None:
    for path in (tmp_path / "arena", None):
        with pytest.raises(RunError, match=r"lower buffer\.capacity"):
            Arena.create(path, {}, 2, 2**63)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunError, match=r"Not a directory|File exists"):
        make(tmp_path / "file" / "arena")


def test_all_space_is_taken_at_once(tmp_path: Path) -> None:
    path = tmp_path / "arena"
    make(path, slots=100)
    status = path.stat()
    assert status.st_blocks * 512 >= status.st_size > 100 * BYTES


def test_values_keep_their_width() -> None:
    arena = make(None)
    arena.commit(0, (2**64 - 1, 2**64 - 2, 2**64 - 3), (2**64 - 4, -1), 0.5)
    row = arena.slots[0]
    assert [int(row[name]) for name in ("actor", "epoch", "seq", "lineage", "version")] == [
        2**64 - 1,
        2**64 - 2,
        2**64 - 3,
        2**64 - 4,
        -1,
    ]
    assert np.float64(row["time"]) == 0.5
