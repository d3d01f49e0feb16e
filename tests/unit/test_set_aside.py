"""What the buffer does with experience that the learner died of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rljob.roles.buffer.core import Outgoing
from rljob.roles.buffer.set_aside import MOST_FILES, SetAside
from rljob.roles.buffer.suspects import Suspects
from rljob.wire.arrays import unpack
from rljob.wire.experience import ExperienceFormat
from rljob.wire.messages import MessageKind
from tests.unit.experience import Bench, Origin, of_kind, on_policy_plan, origins, replay_plan


def test_two_deaths_in_a_row_condemn_and_a_survived_update_clears() -> None:
    suspects: Suspects[str] = Suspects()
    assert suspects.died(["a", "b"]) == []
    assert suspects.died(["b", "c"]) == ["b"]
    assert suspects.died(["b", "c"]) == ["c"]
    suspects.trained("b")
    assert suspects.died(["b"]) == []


def test_files_are_counted_over_lives_of_the_buffer_and_bounded(tmp_path: Path) -> None:
    folder = tmp_path / "set-aside"
    for life in range(MOST_FILES + 2):
        SetAside(folder).add({"file": np.array([life])}, 5.0)
    assert sorted(int(path.stem) for path in folder.iterdir()) == list(range(1, MOST_FILES + 1))
    with np.load(folder / "2.npz") as kept:
        assert kept["file"].tolist() == [1]
    (tmp_path / "full").write_text("no folder")
    full = SetAside(tmp_path / "full")
    full.add({"reward": np.zeros(1)}, 5.0)
    assert (full.batches, full.last) == (1, 5.0)


def life(bench: Bench, lineage: int, ack: int = 0, limit: int = 4) -> list[Outgoing]:
    """A new life of the learner; what it is sent."""
    bench.attach(lineage=lineage)
    bench.pull(0, limit, lineage=lineage)
    sent = bench.turn()
    if ack:
        sent += [*bench.pull(ack, ack + limit, lineage=lineage), *bench.turn()]
    return sent


def filled(plan: ExperienceFormat, path: Path, segments: int, **settings: bool) -> Bench:
    bench = Bench(path, **settings)
    bench.hello(plan)
    bench.attach()
    for seq in range(segments):
        bench.segment(plan, seq)
    return bench


def told(messages: list[Outgoing]) -> tuple[float, float]:
    """Number and time as statistics say them."""
    arrays = unpack(memoryview(of_kind(messages, MessageKind.STATS)[-1].payload))
    return float(arrays["set_aside"][0]), float(arrays["set_aside_last"][0])


BOTH: list[Origin] = [(1, 1, 0), (1, 1, 1)]


def test_segments_that_kill_twice_are_set_aside_and_the_next_ones_come(tmp_path: Path) -> None:
    plan = on_policy_plan(segments_per_batch=2)
    bench = filled(plan, tmp_path / "arena", 5)
    for lineage in (2, 3):
        assert origins(life(bench, lineage))[:2] == BOTH
    sent = life(bench, 4)
    assert origins(sent) == [(1, 1, 2), (1, 1, 3), (1, 1, 4)]
    assert told(sent) == (1, bench.now)
    assert bench.told.evictions == [("set_aside", origin) for origin in BOTH]
    with np.load(tmp_path / "set-aside" / "1.npz") as kept:
        assert kept["seq"].tolist() == [0, 1]
        assert kept["reward"].shape == (2, 4, 2)
        assert (kept["reward"][1] == 1).all()
    # The room is free again, and a restarted buffer knows of them.
    bench.restart()
    bench.hello(plan)
    assert told(life(bench, 5))[0] == 1
    assert sorted(origins(bench.turn())) == []


def test_deaths_are_those_of_the_batch_in_training_and_in_a_row(tmp_path: Path) -> None:
    plan = on_policy_plan(segments_per_batch=2)
    bench = filled(plan, tmp_path / "arena", 4)
    life(bench, 2)
    # It trains on the first batch this time, and dies of the second.
    life(bench, 3, ack=2)
    assert origins(life(bench, 4)) == [(1, 1, 2), (1, 1, 3)]
    # The same learner, which says HELLO again, has not died.
    assert origins(life(bench, 4)) == [(1, 1, 2), (1, 1, 3)]
    assert bench.told.evictions == []


def test_a_learner_that_waits_for_the_rest_of_a_batch_dies_of_nothing(tmp_path: Path) -> None:
    bench = filled(on_policy_plan(segments_per_batch=2), tmp_path / "arena", 1)
    for lineage in range(2, 6):
        assert origins(life(bench, lineage)) == [(1, 1, 0)]
    assert bench.told.evictions == []


def test_a_strict_run_sets_nothing_aside(tmp_path: Path) -> None:
    bench = filled(on_policy_plan(segments_per_batch=2), tmp_path / "arena", 2, strict=True)
    for lineage in range(2, 6):
        bench.segment(on_policy_plan(2), 2 * lineage, lineage=lineage)
        life(bench, lineage)
    assert not (tmp_path / "set-aside").exists()


def batches(messages: list[Outgoing]) -> list[bytes]:
    return [bytes(each.payload) for each in of_kind(messages, MessageKind.BATCH)]


@pytest.mark.parametrize("exponent", [0.0, 0.6])
def test_a_replay_batch_is_sent_again_and_then_set_aside(tmp_path: Path, exponent: float) -> None:
    plan = replay_plan(batch_size=2, updates_per_publish=1, priority_exponent=exponent)
    bench = filled(plan, tmp_path / "arena", 4)
    first = batches(life(bench, 2, limit=2))[0]
    # The same bytes again, although sampling is random.
    assert batches(life(bench, 3, limit=2))[0] == first
    sent = life(bench, 4, limit=2)
    assert first not in batches(sent)
    assert told(sent)[0] == 1
    with np.load(tmp_path / "set-aside" / "1.npz") as kept:
        arrays = unpack(memoryview(first))
        assert (kept["observation"] == arrays["observation"]).all()
    gone = {row.tobytes() for row in arrays["observation"].reshape(-1, 4)}
    assert unpack(memoryview(of_kind(sent, MessageKind.STATS)[-1].payload))["stored"][
        0
    ] == 32 - len(gone)
    for position in range(1, 40):
        bench.segment(plan, 3 + position)
        for batch in batches([*bench.pull(position, position + 2, lineage=4), *bench.turn()]):
            seen = unpack(memoryview(batch))["observation"].reshape(-1, 4)
            assert not gone & {row.tobytes() for row in seen}


def test_a_replay_batch_that_is_survived_is_forgotten(tmp_path: Path) -> None:
    plan = replay_plan(batch_size=2, updates_per_publish=1)
    bench = filled(plan, tmp_path / "arena", 4)
    first = batches(life(bench, 2, limit=2))[0]
    assert batches(life(bench, 3, ack=1, limit=2))[0] == first
    assert batches(life(bench, 4, limit=2))[0] != first
    assert not (tmp_path / "set-aside").exists()
