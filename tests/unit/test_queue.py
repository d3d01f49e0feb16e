"""Segments come out in the order in which they went in, each once, over kills and returns."""

from __future__ import annotations

from pathlib import Path

import pytest

from rljob.roles.buffer.arena import Arena
from rljob.roles.buffer.queue import SegmentQueue

BYTES = 64


def make(path: Path | None = None, slots: int = 4) -> SegmentQueue:
    arena = Arena.create(path, {}, slots, slots * BYTES)
    return SegmentQueue(arena, BYTES)


def put(queue: SegmentQueue, number: int) -> None:
    payload = memoryview(bytes([number]) * BYTES)
    queue.put(payload, (1, 2, number), (3, 10 + number), float(number))


def drain(queue: SegmentQueue) -> list[int]:
    numbers = []
    while queue.head() is not None:
        stored = queue.take()
        assert bytes(stored.payload) == bytes([stored.seq]) * BYTES
        assert (stored.actor, stored.epoch, stored.lineage) == (1, 2, 3)
        assert (stored.version, stored.time) == (10 + stored.seq, float(stored.seq))
        numbers.append(stored.seq)
        queue.release(stored.slot)
    return numbers


def test_in_order_many_times_round() -> None:
    queue = make()
    out = []
    for number in range(20):
        put(queue, number)
        if number % 3 == 2:
            out += drain(queue)
    assert out + drain(queue) == list(range(20))
    assert (queue.free, queue.fill, len(queue)) == (4, 0.0, 0)


def test_what_is_taken_keeps_its_slot_until_it_is_released() -> None:
    queue = make()
    for number in range(4):
        put(queue, number)
    assert (queue.free, queue.fill) == (0, 1.0)
    taken = queue.take()
    assert (queue.free, len(queue)) == (0, 3)
    assert queue.head() is not None
    queue.release(taken.slot)
    assert (queue.free, queue.fill) == (1, 0.75)


def test_what_is_given_back_comes_first_and_in_order() -> None:
    queue = make()
    for number in range(4):
        put(queue, number)
    slots = [queue.take().slot for _ in range(3)]
    queue.give_back(slots)
    assert drain(queue) == [0, 1, 2, 3]


def test_one_can_be_taken_out_of_the_middle() -> None:
    queue = make()
    for number in range(4):
        put(queue, number)
    middle = queue.waiting()[2]
    assert middle.seq == 2
    queue.remove(middle.slot)
    assert (len(queue), queue.free) == (3, 0)
    queue.release(middle.slot)
    assert drain(queue) == [0, 1, 3]


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_new_process_finds_all_that_was_not_released(tmp_path: Path, taken: int) -> None:
    path = tmp_path / "arena"
    queue = make(path)
    for number in range(3):
        put(queue, number)
    queue.release(queue.take().slot)
    put(queue, 3)
    put(queue, 4)
    for _ in range(taken):
        queue.take()
    arena = Arena.open(path)
    assert arena is not None
    again = SegmentQueue(arena, BYTES)
    assert (len(again), again.free) == (4, 0)
    assert drain(again) == [1, 2, 3, 4]
