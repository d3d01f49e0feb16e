"""Simulated time: who shares cores with whom, and what that does to how long something takes."""

from __future__ import annotations

import pytest

from rljob.plan.machine import Machine
from rljob.plan.measured import Line, Work


def ends(cores: float | None, *works: Work) -> tuple[list[float], Machine]:
    """When each of some works ends that begin together."""
    machine, found = Machine(cores), [0.0] * len(works)

    def end(index: int) -> None:
        found[index] = machine.now

    for index, work in enumerate(works):
        machine.work(work, lambda i=index: end(i))  # type: ignore[misc]
    while machine.step():
        pass
    return found, machine


def test_work_that_finds_a_core_takes_as_long_as_it_takes() -> None:
    found, machine = ends(2, Work(cpu=3.0), Work(cpu=1.0))
    assert found == [3.0, 1.0]
    assert machine.used == 4.0


def test_cores_are_shared_evenly() -> None:
    # Three at two thirds of a core until the first is done after 1.5 s; then each has a core.
    found, machine = ends(2, Work(cpu=1.0), Work(cpu=2.0), Work(cpu=2.0))
    assert found == pytest.approx([1.5, 2.5, 2.5])
    assert machine.used == pytest.approx(5.0)


def test_who_waits_uses_no_core() -> None:
    found, machine = ends(1, Work(cpu=1.0, wait=2.0), Work(cpu=1.0))
    assert found == [3.0, 1.0]
    assert machine.used == 2.0


def test_wide_work_takes_more_of_the_cores() -> None:
    # Two seconds on four cores, of which it has two while it is alone.
    found, machine = ends(2, Work(cpu=8.0, width=4.0))
    assert found == [4.0]
    assert machine.used == 8.0


def test_processes_with_cores_of_their_own_do_not_meet() -> None:
    found, machine = ends(None, *(Work(cpu=1.0) for _ in range(50)))
    assert found == [1.0] * 50
    assert machine.used == 50.0


def test_work_adds_up() -> None:
    work = Work(cpu=4.0, wait=1.0, width=2.0)
    assert work.seconds == 3.0
    assert work.times(3) == Work(cpu=12.0, wait=3.0, width=2.0)
    line = Line(fixed=Work(cpu=1.0, width=2.0), each=Work(cpu=0.5, wait=0.1))
    assert line.of(4) == Work(cpu=3.0, wait=0.4, width=2.0)
