"""What a process may use, and that a buffer refuses what it cannot hold before it reserves anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from rljob.errors import InputError
from rljob.process.memory import MemoryLimit, memory_limit
from rljob.roles.buffer.store import PROCESS_BYTES
from rljob.wire.experience import ExperienceFormat
from tests.unit.experience import Bench, on_policy_plan, replay_plan

MIB = 2**20


@pytest.mark.parametrize(
    ("files", "groups"),
    [
        # A container of version 2 and of version 1: the group is mounted at the top.
        ({"memory.max": 50}, ["0::/"]),
        ({"memory/memory.limit_in_bytes": 50}, ["4:memory:/kubepods/pod1", "0::/"]),
        # A machine with slices: the smallest limit on the way up.
        ({"a/b/memory.max": "max", "a/memory.max": 50, "memory.max": "max"}, ["0::/a/b"]),
        (
            {"memory/a/memory.limit_in_bytes": 50, "memory/memory.limit_in_bytes": 2**63 - 4096},
            ["4:cpu,memory:/a", "9:name=systemd:/"],
        ),
    ],
)
def test_the_limit_of_a_control_group_counts(
    tmp_path: Path, files: dict[str, int | str], groups: list[str]
) -> None:
    for name, limit in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{limit * MIB if limit == 50 else limit}\n")
    (tmp_path / "own").write_text("\n".join(groups) + "\n")
    found = memory_limit(tmp_path / "cgroup", tmp_path / "own")
    assert found == MemoryLimit(50 * MIB, "the memory limit of its container")


def test_without_a_limit_the_machine_counts(tmp_path: Path) -> None:
    found = memory_limit(tmp_path / "none", tmp_path / "none")
    assert found is not None
    assert found.source == "the memory of this machine"
    assert found.bytes > 64 * MIB


@pytest.mark.parametrize(
    ("plan", "capacity"),
    [
        (on_policy_plan(segments_per_batch=10_000), 8 * 70_000),
        (replay_plan(), 10**6),
        (replay_plan(priority_exponent=0.5), 10**6),
    ],
)
def test_experience_beyond_the_memory_is_refused_with_the_numbers(
    tmp_path: Path, plan: ExperienceFormat, capacity: int
) -> None:
    limit = MemoryLimit(PROCESS_BYTES + 8 * MIB, "the memory limit of its container")
    bench = Bench(tmp_path / "arena", capacity=capacity, memory=limit)
    bench.hello(plan)
    with pytest.raises(InputError, match="the memory limit of its container is 136 MiB") as caught:
        bench.attach()
    assert caught.value.path == "buffer.capacity"
    assert "resources.limits.memory in buffer.template" in str(caught.value)
    assert not (tmp_path / "arena").exists()
    most = int(str(caught.value).split("at most ")[1].split(",")[0])
    if plan.segments_per_batch(1) == 1:
        fits = Bench(tmp_path / "arena", capacity=most, memory=limit)
        fits.hello(plan)
        fits.attach()
        assert (tmp_path / "arena").stat().st_size < limit.bytes


def test_a_batch_that_grows_beyond_the_memory_is_refused_too(tmp_path: Path) -> None:
    limit = MemoryLimit(PROCESS_BYTES + 8 * MIB, "the memory of this machine")
    bench = Bench(tmp_path / "arena", capacity=10**7, memory=limit)
    plan = on_policy_plan(segments_per_batch=0)
    bench.hello(plan)
    bench.attach(segments_per_batch=1)
    with pytest.raises(InputError, match="at most"):
        bench.attach(lineage=2, segments_per_batch=10_000)
