"""Agents of one environment are drawn together, in one row, with the state of their environment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rljob.envs.spaces import Arrays, BoxSpace, DiscreteSpace, Spaces
from rljob.roles.buffer.arena import Arena
from rljob.roles.buffer.replay import ReplayStore, data_bytes
from rljob.spec.experience import Field, Replay
from rljob.wire.arrays import unpack
from rljob.wire.experience import ExperienceFormat

LENGTH, GAMES, AGENTS, SLOTS = 4, 2, 3, 4
COLUMNS = GAMES * AGENTS
SPACES = Spaces(BoxSpace((3,)), DiscreteSpace(5), masked=True, agents=AGENTS, state=BoxSpace((2,)))
DATA = Replay(LENGTH, 8, 8, 1.0, agents=AGENTS)


class Ring:
    """A store, and the segments of one rollout that were put into it.

    An observation holds its row, counted over all segments, its game and its agent; a state its row and its game.
    """

    def __init__(
        self, data: Replay = DATA, path: Path | None = None, core: int = 0, priority: bool = False
    ) -> None:
        self.data, self.path = data, path
        fields = (Field("priority", "float32"),) if priority else ()
        self.layout = ExperienceFormat.of(data, fields, GAMES, SPACES, core).layout
        size = data_bytes(self.layout, SLOTS, data.priority_exponent)
        self.arena = Arena.create(path, {}, SLOTS, size)
        self.rng = np.random.default_rng(0)
        self.segments: list[Arrays] = []
        self.restart()

    def restart(self) -> None:
        data = self.data
        kind = data.length, data.period, data.start, data.agents
        self.store = ReplayStore(self.arena, self.layout, data.priority_exponent, *kind)

    def put(self, count: int, **values: np.ndarray) -> None:
        """Segments in which some agents, and some whole environments, take no step."""
        for _ in range(count):
            number = len(self.segments)
            _, arrays = self.layout.allocate()
            column, rows = np.arange(COLUMNS), number * LENGTH + np.arange(LENGTH + 1)
            marks = arrays["observation"]
            marks[..., 0] = rows[:, None]
            marks[..., 1], marks[..., 2] = column // AGENTS, column % AGENTS
            arrays["state"][..., 0], arrays["state"][..., 1] = rows[:, None], np.arange(GAMES)
            arrays["action"][...] = self.rng.integers(0, 5, (LENGTH, COLUMNS))
            arrays["reward"][...] = marks[:-1, :, 0] * 100 + column
            arrays["mask"][...] = marks[..., :1] % 5 != np.arange(5)
            lost = np.repeat(self.rng.random((LENGTH, GAMES)) < 0.3, AGENTS, axis=1)
            arrays["valid"][...] = (self.rng.random((LENGTH, COLUMNS)) < 0.7) & ~lost
            arrays["valid"][0, 0] = True
            if "core" in arrays:
                arrays["core"][..., 0] = marks[: LENGTH : self.data.period, :, 0]
                arrays["core"][..., 1] = column
            for name, value in values.items():
                arrays[name][...] = value
            self.segments.append(arrays)
            self.store.put(arrays, (1, 1, number), (1, 1), 0.0)

    @property
    def takes_step(self) -> set[tuple[int, int]]:
        """(row, game) of which an agent at least takes a step, among what is stored."""
        stored = range(max(0, len(self.segments) - SLOTS), len(self.segments))
        return {
            (number * LENGTH + step, game)
            for number in stored
            for step in range(LENGTH)
            for game in range(GAMES)
            if self.at("valid", number * LENGTH + step, game).any()
        }

    def at(self, name: str, row: int, game: int) -> np.ndarray:
        """What the agents of a game had in one row."""
        array = self.segments[row // LENGTH][name]
        return array[row % LENGTH, game * AGENTS : (game + 1) * AGENTS]

    def draw(self, batch: int = 300) -> Arrays:
        """One batch."""
        payload = self.store.sample(1, batch, np.random.default_rng(1), 0.0).payload
        return {name: array[0] for name, array in unpack(payload.data).items()}


@pytest.mark.parametrize("exponent", [0.0, 0.6])
@pytest.mark.parametrize("count", [2, SLOTS + 3])
def test_a_batch_has_whole_groups_beside_each_other(exponent: float, count: int) -> None:
    ring = Ring(replace(DATA, priority_exponent=exponent))
    ring.put(count)
    batch = ring.draw()

    seen = set()
    for index, mark in enumerate(batch["state"]):
        row, game = (int(each) for each in mark)
        columns = slice(index * AGENTS, (index + 1) * AGENTS)
        for name in ("observation", "action", "reward", "terminated", "valid", "mask"):
            np.testing.assert_array_equal(batch[name][columns], ring.at(name, row, game), name)
        ahead = batch["next_observation"][columns]
        assert (ahead[:, 0] == row + 1).all()
        np.testing.assert_array_equal(ahead[:, 1:], batch["observation"][columns, 1:])
        assert batch["next_state"][index].tolist() == [row + 1, game]
        np.testing.assert_array_equal(batch["next_mask"][columns], ahead[:, :1] % 5 != np.arange(5))
        seen.add((row, game))
    assert seen == ring.takes_step, "all, and none that only resets"
    assert ring.store.ready == len(seen)
    assert ring.store.held == sum(int(each["valid"].sum()) for each in ring.segments[-SLOTS:])


def test_shapes_count_agents_but_for_what_is_told_of_the_group() -> None:
    ring = Ring(replace(DATA, priority_exponent=0.6))
    ring.put(1)
    shapes = {name: array.shape for name, array in ring.draw(8).items()}
    flat, group = (8 * AGENTS,), (8,)
    assert shapes == {
        **dict.fromkeys(("action", "reward", "terminated", "valid"), flat),
        **dict.fromkeys(("observation", "next_observation"), (*flat, 3)),
        **dict.fromkeys(("mask", "next_mask"), (*flat, 5)),
        **dict.fromkeys(("state", "next_state"), (*group, 2)),
        **dict.fromkeys(("key", "probability", "stored"), group),
    }


def test_a_group_has_one_priority() -> None:
    ring = Ring(replace(DATA, priority_exponent=1.0))
    ring.put(2)
    batch = ring.draw()
    favourite = batch["state"][0]
    chosen = (batch["state"] == favourite).all(axis=1)
    ring.store.reprioritise(batch["key"], np.where(chosen, 1e9, 1.0))

    again = ring.draw()
    assert (again["state"] == favourite).all()
    assert again["probability"] == pytest.approx(1.0, abs=1e-6)
    assert (again["stored"] == len(ring.takes_step)).all()


def test_the_highest_priority_of_its_agents_is_that_of_a_new_group() -> None:
    ring = Ring(replace(DATA, priority_exponent=1.0), priority=True)
    given = np.ones((LENGTH, COLUMNS))
    given[2, AGENTS + 1] = 1e9
    ring.put(1, priority=given, valid=np.ones((LENGTH, COLUMNS)))
    assert (ring.draw()["state"] == (2, 1)).all()


@pytest.mark.parametrize("exponent", [0.0, 0.6])
@pytest.mark.parametrize("length", [1, 6])
def test_what_was_discarded_is_drawn_no_more(exponent: float, length: int) -> None:
    ring = Ring(replace(DATA, priority_exponent=exponent, length=length))
    ring.put(SLOTS, valid=np.ones((LENGTH, COLUMNS)))
    ready = ring.store.ready
    sampled = ring.store.sample(1, 2, np.random.default_rng(0), 0.0)
    gone = len(np.unique(sampled.drawn.rows))
    ring.store.discard(sampled.drawn)

    assert ring.store.ready == ready - gone
    again = ring.store.sample(1, 300, np.random.default_rng(0), 0.0).drawn.rows
    assert not set(again) & set(sampled.drawn.rows)
    assert len(set(again)) == ready - gone


@pytest.mark.parametrize("length", [1, 6])
def test_a_restarted_buffer_draws_the_same(tmp_path: Path, length: int) -> None:
    ring = Ring(replace(DATA, length=length, priority_exponent=0.6), tmp_path / "arena")
    ring.put(SLOTS + 1)
    before = ring.draw()
    ready, held = ring.store.ready, ring.store.held
    ring.restart()

    after = ring.draw()
    assert (ring.store.ready, ring.store.held) == (ready, held)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, name)


@pytest.mark.parametrize("exponent", [0.0, 0.6])
def test_sequences_go_on_for_the_whole_group(exponent: float) -> None:
    data = replace(DATA, length=6, period=2, priority_exponent=exponent)
    ring = Ring(data, core=2)
    ring.put(SLOTS + 2)
    batch = ring.draw(100)

    assert batch["reward"].shape == (6, 100 * AGENTS)
    assert batch["state"].shape == (7, 100, 2)
    assert batch["core"].shape == (1, 100 * AGENTS, 2)
    begins = set()
    for index, states in enumerate(batch["state"].swapaxes(0, 1)):
        first, game = (int(each) for each in states[0])
        columns = slice(index * AGENTS, (index + 1) * AGENTS)
        assert states.tolist() == [[first + step, game] for step in range(7)]
        for step in range(6):
            for name in ("observation", "action", "reward", "valid", "mask"):
                expected = ring.at(name, first + step, game)
                np.testing.assert_array_equal(batch[name][step, columns], expected, name)
        last = batch["observation"][6, columns]
        assert last.tolist() == [[first + 6, game, agent] for agent in range(AGENTS)]
        core = [[first, game * AGENTS + agent] for agent in range(AGENTS)]
        assert batch["core"][0, columns].tolist() == core
        begins.add((first, game))
    whole = (len(ring.segments) * LENGTH) - 6
    expected_begins = {(r, g) for r, g in ring.takes_step if r % 2 == 0 and r <= whole}
    assert begins == expected_begins
    assert ring.store.ready == len(expected_begins)


def test_sequences_may_begin_where_an_episode_of_the_group_does() -> None:
    ring = Ring(replace(DATA, length=3, start="episode"))
    valid = np.ones((2 * LENGTH, COLUMNS), np.bool_)
    # Of the first game one agent is over from row 1 on, and row 3 only resets.
    valid[1:3, 0] = valid[3, :AGENTS] = False
    for part in np.split(valid, 2):
        ring.put(1, valid=part)

    states = ring.draw()["state"][0]
    assert {tuple(each) for each in states.astype(int).tolist()} == {(0, 0), (0, 1), (4, 0)}


@pytest.mark.parametrize("length", [1, 5])
def test_agents_that_are_drawn_one_by_one_have_the_state_as_well(length: int) -> None:
    ring = Ring(replace(DATA, agents=1, length=length))
    ring.put(SLOTS)
    batch = ring.draw()

    assert len(batch["state"].reshape(-1, 2)) == len(batch["observation"].reshape(-1, 3))
    np.testing.assert_array_equal(batch["state"], batch["observation"][..., :2])
    if length == 1:
        assert "valid" not in batch
        np.testing.assert_array_equal(batch["next_state"], batch["next_observation"][..., :2])
