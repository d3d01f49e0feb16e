"""Sequences that are drawn are rows that followed each other in a rollout, and all of them can be drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rljob.roles.buffer.arena import Arena
from rljob.roles.buffer.replay import ReplayStore, data_bytes
from rljob.spec.experience import Field
from rljob.wire.arrays import Layout, unpack
from tests.unit.experience import make_layout

LENGTH, ENVS, SLOTS = 4, 2, 6
Start = Literal["row", "episode"]
Origin = tuple[int, int, int]
Arrays = dict[str, np.ndarray]
Row = tuple[Origin, int, int]
"""A segment, a step of it and an environment."""


def sequence_layout(period: int = 1, **extra: str) -> Layout:
    core = Field("core", "float32", (LENGTH // period, ENVS, 3))
    mask = Field("mask", "bool", (LENGTH + 1, ENVS, 5))
    return Layout((*make_layout(LENGTH, ENVS, **extra).fields, core, mask))


@dataclass
class Life:
    """One life of a rollout, whose observations are (life, environment, episode, step)."""

    number: int
    actor: int
    epoch: int
    rng: np.random.Generator
    seq: int = 0
    episode: np.ndarray = field(default_factory=lambda: np.zeros(ENVS))
    step: np.ndarray = field(default_factory=lambda: np.zeros(ENVS))
    ended: np.ndarray = field(default_factory=lambda: np.zeros(ENVS, bool))

    def reset(self) -> None:
        """All episodes begin anew, as at a boundary of a strict run."""
        self.episode, self.step = self.episode + 1, np.zeros(ENVS)
        self.ended = np.zeros(ENVS, bool)

    def _seen(self) -> np.ndarray:
        number = np.full(ENVS, self.number)
        return np.stack([number, np.arange(ENVS), self.episode, self.step], axis=1)

    def segment(self, layout: Layout) -> tuple[Origin, Arrays]:
        _, arrays = layout.allocate()
        for name in arrays.keys() - {"observation", "valid", "terminated", "truncated", "mask"}:
            arrays[name][...] = self.rng.integers(1, 2**20, arrays[name].shape)
        arrays["observation"][0] = self._seen()
        for t in range(LENGTH):
            arrays["valid"][t] = ~self.ended
            self.episode += self.ended
            self.step = np.where(self.ended, 0, self.step + 1)
            ends = ~self.ended & (self.rng.random(ENVS) < 0.2)
            arrays["terminated"][t] = ends & (self.rng.random(ENVS) < 0.5)
            arrays["truncated"][t] = ends & ~arrays["terminated"][t]
            self.ended = ends
            arrays["observation"][t + 1] = self._seen()
        # What is seen decides what is allowed, so that a row is of one segment or of the next.
        arrays["mask"][...] = arrays["observation"].sum(-1, keepdims=True) % 5 != np.arange(5)
        self.seq += 1
        return (self.actor, self.epoch, self.seq - 1), arrays


class Reference:
    """What the ring is meant to be: segments in a list, sequences found by walking from each row."""

    def __init__(self, length: int, period: int, start: Start) -> None:
        self.length, self.period, self.start = length, period, start
        self.slots: list[Origin | None] = [None] * SLOTS
        self.next = 0
        self.stored: dict[Origin, Arrays] = {}

    def put(self, origin: Origin, arrays: Arrays) -> None:
        self.tear()
        self.slots[self.next], self.stored[origin] = origin, arrays
        self.next = (self.next + 1) % SLOTS

    def tear(self) -> None:
        """What was in the next slot is no more."""
        if (origin := self.slots[self.next]) is not None:
            del self.stored[origin]
        self.slots[self.next] = None

    def _joined(self, before: Origin, env: int) -> bool:
        actor, epoch, seq = before
        after, stored = (actor, epoch, seq + 1), self.stored
        if before not in stored or after not in stored:
            return False
        ends, begins = (stored[each]["observation"] for each in (before, after))
        return np.array_equal(ends[LENGTH, env], begins[0, env])

    def rows(self, origin: Origin, step: int, env: int) -> list[Row]:
        """Rows that follow each other from this one on, up to `length`."""
        found: list[Row] = []
        while len(found) < self.length:
            if step == LENGTH:
                if not self._joined(origin, env):
                    break
                origin, step = (*origin[:2], origin[2] + 1), 0
            found.append((origin, step, env))
            step += 1
        return found

    def _begins_episode(self, origin: Origin, step: int, env: int) -> bool:
        stored = self.stored
        if step:
            return not stored[origin]["valid"][step - 1, env]
        before = (*origin[:2], origin[2] - 1)
        if before not in stored:
            return origin[2] == 0
        return not self._joined(before, env) or not stored[before]["valid"][LENGTH - 1, env]

    def sequences(self) -> dict[Row, list[Row]]:
        """All that can be drawn, by the row where they begin."""
        found = {}
        for origin, arrays in self.stored.items():
            for step in range(0, LENGTH, self.period):
                for env in range(ENVS):
                    rows = self.rows(origin, step, env)
                    first = self.start == "row" or self._begins_episode(origin, step, env)
                    if arrays["valid"][step, env] and first and len(rows) == self.length:
                        found[origin, step, env] = rows
        return found


class Ring:
    """A store and its reference, to which the same happens."""

    def __init__(self, length: int, period: int, start: Start, exponent: float, seed: int) -> None:
        self.kind: tuple[int, int, Start] = (length, period, start)
        self.exponent = exponent
        self.layout = sequence_layout(period)
        self.arena = Arena.create(None, {}, SLOTS, data_bytes(self.layout, SLOTS, exponent))
        self.reference = Reference(*self.kind)
        self.rng = np.random.default_rng(seed)
        self.lives: dict[int, Life] = {}
        self.count = 0
        self.restart()

    def restart(self) -> None:
        self.store = ReplayStore(self.arena, self.layout, self.exponent, *self.kind)

    def put(self, segment: tuple[Origin, Arrays]) -> None:
        origin, arrays = segment
        self.store.put(arrays, origin, (1, 1), 0.0)
        self.reference.put(origin, arrays)

    def tear(self, arrays: Arrays) -> None:
        """The process is killed while it writes, and begins anew."""
        self.arena.begin(self.reference.next)
        for name, array in arrays.items():
            self.store._fields[name][self.reference.next] = array
        self.reference.tear()
        self.restart()

    def happen(self, actor: int, what: str) -> None:
        if what == "life" or actor not in self.lives:
            self.count += 1
            self.lives[actor] = Life(self.count, actor, self.count, self.rng)
        life = self.lives[actor]
        if what == "reset":
            life.reset()
        elif what == "restart":
            self.restart()
        elif what == "lost":
            life.segment(self.layout)
        elif what == "torn":
            self.tear(life.segment(self.layout)[1])
        elif what == "late":
            late = life.segment(self.layout)
            self.put(life.segment(self.layout))
            self.put(late)
        self.put(life.segment(self.layout))

    def check(self, batch: int = 10) -> None:
        """Draw, and compare every number of what is drawn."""
        sequences = self.reference.sequences()
        assert self.store.ready == len(sequences)
        stored = self.reference.stored
        assert self.store.held == sum(int(a["valid"].sum()) for a in stored.values())
        if not sequences:
            return
        arrays = unpack(self.store.sample(2, batch, self.rng, 0.0).payload.data)
        lives = {(life, env): key for key, life, env in self._marks(stored)}
        for k in range(2):
            for b in range(batch):
                drawn = {name: array[k, :, b] for name, array in arrays.items() if array.ndim > 2}
                begin = lives[tuple(drawn["observation"][0]), drawn["reward"][0]]
                assert begin in sequences, "this sequence is not whole, or may not begin here"
                self._compare(drawn, sequences[begin], stored)

    def _marks(self, stored: dict[Origin, Arrays]) -> Any:
        for origin, arrays in stored.items():
            for step in range(LENGTH):
                for env in range(ENVS):
                    seen = tuple(arrays["observation"][step, env])
                    yield (origin, step, env), seen, arrays["reward"][step, env]

    def _compare(self, drawn: Arrays, rows: list[Row], stored: dict[Origin, Arrays]) -> None:
        names = ("observation", "mask", "action", "reward", "terminated", "truncated", "valid")
        assert drawn.keys() == {*names, "core"}
        expected = {
            name: [stored[origin][name][step, env] for origin, step, env in rows] for name in names
        }
        origin, step, env = rows[-1]
        for name in ("observation", "mask"):
            expected[name].append(stored[origin][name][step + 1, env])
        origin, step, env = rows[0]
        expected["core"] = [stored[origin]["core"][step // self.reference.period, env]]
        for name, rows_of in expected.items():
            assert np.array_equal(drawn[name], np.stack(rows_of)), name


KINDS = st.one_of(
    st.tuples(st.integers(2, 11), st.sampled_from([1, 2, 4]), st.just("row")),
    st.tuples(st.integers(2, 11), st.just(1), st.just("episode")),
)
HAPPENINGS = st.lists(
    st.tuples(
        st.integers(1, 2),
        st.sampled_from(["", "", "", "life", "reset", "restart", "lost", "torn", "late"]),
    ),
    max_size=20,
)


@settings(max_examples=60)
@given(KINDS, st.sampled_from([0.0, 0.7]), HAPPENINGS, st.integers(0, 2**32 - 1))
def test_all_that_followed_each_other_can_be_drawn_and_nothing_else(
    kind: tuple[int, int, Start], exponent: float, happenings: list[tuple[int, str]], seed: int
) -> None:
    ring = Ring(*kind, exponent, seed)
    for actor, what in happenings:
        ring.happen(actor, what)
        assert ring.store.ready == len(ring.reference.sequences())
    ring.check()
    ring.restart()
    ring.check()


def filled(
    length: int, period: int = 1, start: Start = "row", exponent: float = 0.0, count: int = SLOTS
) -> Ring:
    """A ring with segments of one rollout."""
    ring = Ring(length, period, start, exponent, seed=0)
    for _ in range(count):
        ring.happen(1, "")
    return ring


def test_a_late_segment_says_whether_the_one_after_it_begins_an_episode() -> None:
    ring = Ring(2, 1, "episode", 0.0, seed=0)
    life = Life(1, 1, 1, ring.rng)
    first, second = life.segment(ring.layout), life.segment(ring.layout)
    for name in ("terminated", "truncated"):
        for _, arrays in (first, second):
            arrays[name][...] = False
    first[1]["valid"][...], second[1]["valid"][...] = True, True
    first[1]["valid"][-1] = False
    second[1]["observation"][0] = first[1]["observation"][-1]
    ring.put(second)
    assert ring.store.ready == 0, "nobody knows what was before its first row"
    ring.put(first)
    # One begins at the first row of each.
    assert ring.store.ready == len(ring.reference.sequences()) == 2 * ENVS


def test_the_next_episode_is_not_where_a_full_segment_goes_on() -> None:
    ring = Ring(2, 1, "row", 0.0, seed=0)
    life = Life(1, 1, 1, ring.rng)
    first, second = life.segment(ring.layout), life.segment(ring.layout)
    for name, value in (("valid", True), ("terminated", False), ("truncated", False)):
        for _, arrays in (first, second):
            arrays[name][...] = value
    # The first column's episode ends in the last row, and the next one begins with the same observation.
    first[1]["terminated"][-1, 0] = True
    second[1]["observation"][0] = first[1]["observation"][-1]
    ring.put(first)
    ring.put(second)
    begins = (LENGTH - 1) + (LENGTH - 1), (2 * LENGTH - 1)
    assert ring.store.ready == sum(begins)


def test_shapes_are_those_of_segments() -> None:
    ring = filled(length=6, period=2, exponent=0.5)
    arrays = unpack(ring.store.sample(3, 8, ring.rng, 0.0).payload.data)
    assert {name: (a.dtype.name, a.shape) for name, a in arrays.items()} == {
        "observation": ("float32", (3, 7, 8, 4)),
        "mask": ("bool", (3, 7, 8, 5)),
        "action": ("int64", (3, 6, 8)),
        "reward": ("float32", (3, 6, 8)),
        "terminated": ("bool", (3, 6, 8)),
        "truncated": ("bool", (3, 6, 8)),
        "valid": ("bool", (3, 6, 8)),
        "core": ("float32", (3, 1, 8, 3)),
        "key": ("uint64", (3, 8)),
        "probability": ("float64", (3, 8)),
        "stored": ("int64", (3, 8)),
    }


@pytest.mark.parametrize("kind", [(5, 1, "row"), (6, 2, "row"), (5, 1, "episode")])
@pytest.mark.parametrize("exponent", [0.0, 0.7])
def test_every_sequence_is_equally_likely(kind: tuple[int, int, Start], exponent: float) -> None:
    ring = filled(*kind, exponent, count=SLOTS + 2)
    sequences = ring.reference.sequences()
    arrays = unpack(ring.store.sample(10, 800, ring.rng, 0.0).payload.data)
    seen = np.concatenate(
        [arrays["observation"][:, 0].reshape(-1, 4), arrays["reward"][:, 0].reshape(-1, 1)], axis=1
    )
    _, counts = np.unique(seen, axis=0, return_counts=True)
    assert len(counts) == len(sequences) == ring.store.ready
    expected = 8000 / len(counts)
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < len(counts) - 1 + 4 * np.sqrt(2 * len(counts))


def test_priorities_of_sequences_decide_how_likely_they_are() -> None:
    ring = filled(length=6, period=2, exponent=1.0)
    store = ring.store

    def draw() -> Arrays:
        arrays = unpack(store.sample(1, 2000, ring.rng, 0.0).payload.data)
        return {name: arrays[name][0] for name in ("key", "probability", "stored")}

    first = draw()
    keys = np.unique(first["key"])
    assert len(keys) == store.ready
    assert (first["stored"] == store.ready).all()
    np.testing.assert_allclose(first["probability"], 1 / store.ready)
    priorities = np.arange(1.0, len(keys) + 1)
    store.reprioritise(keys, priorities)
    second = draw()
    index = np.searchsorted(keys, second["key"])
    np.testing.assert_allclose(second["probability"], (priorities / priorities.sum())[index])


def test_priorities_of_sequences_that_are_no_longer_whole_are_ignored() -> None:
    ring = filled(length=LENGTH + 2, exponent=1.0, count=SLOTS - 1)
    # The last segment of this life; the ring is full.
    ring.happen(2, "")
    keys = np.unique(unpack(ring.store.sample(1, 2000, ring.rng, 0.0).payload.data)["key"])
    for _ in range(SLOTS - 2):
        ring.happen(2, "")
    ring.store.reprioritise(keys, np.full(len(keys), 1000.0))
    ring.check()
    batch = unpack(ring.store.sample(1, 500, ring.rng, 0.0).payload.data)
    assert not np.isin(batch["key"], keys).any()
    np.testing.assert_allclose(batch["probability"], 1 / ring.store.ready)


def store_with_priorities(
    exponent: float, given: list[np.ndarray], length: int = 1, period: int = 1
) -> tuple[ReplayStore, Life, Layout]:
    """A store of segments of one rollout whose rows have these priorities; nothing in it is invalid."""
    layout = sequence_layout(period, priority="float32")
    arena = Arena.create(None, {}, SLOTS, data_bytes(layout, SLOTS, exponent))
    store = ReplayStore(arena, layout, exponent, length, period)
    life = Life(1, 1, 1, np.random.default_rng(0))
    for priorities in given:
        origin, arrays = life.segment(layout)
        arrays["valid"][...] = True
        arrays["priority"][...] = priorities
        store.put(arrays, origin, (1, 1), 0.0)
    return store, life, layout


def likely(store: ReplayStore) -> dict[int, float]:
    """Probability by row, over all slots, of all that can be drawn."""
    arrays = unpack(store.sample(1, 5000, np.random.default_rng(1), 0.0).payload.data)
    rows = (arrays["key"][0] & np.uint64(0xFFFFFFFF)).astype(int)
    return dict(zip(rows.tolist(), arrays["probability"][0].tolist(), strict=True))


def test_actors_say_what_a_row_is_worth_at_first() -> None:
    given = np.arange(1.0, LENGTH * ENVS + 1).reshape(LENGTH, ENVS)
    store, _, _ = store_with_priorities(0.5, [given])
    expected = np.sqrt(given.reshape(-1)) / np.sqrt(given).sum()
    assert likely(store) == pytest.approx(dict(enumerate(expected)), rel=1e-6)
    assert "priority" not in unpack(store.sample(1, 1, np.random.default_rng(0), 0.0).payload.data)


@pytest.mark.parametrize("odd", [0.0, -1.0, np.nan, np.inf, -np.inf, 2e15])
def test_a_first_priority_that_is_none_counts_as_the_highest(odd: float) -> None:
    given = np.full((LENGTH, ENVS), 2.0)
    given[0, 0], given[1, 1] = odd, 8.0
    store, _, _ = store_with_priorities(1.0, [given])
    found = likely(store)
    assert found[0] == pytest.approx(found[ENVS + 1]) == pytest.approx(4 * found[1])


def test_actors_say_what_a_sequence_is_worth_at_first() -> None:
    given = np.full((LENGTH, ENVS), 1e9)
    given[::2] = np.arange(1.0, LENGTH + 1).reshape(LENGTH // 2, ENVS)
    store, _, _ = store_with_priorities(1.0, [given] * 3, length=LENGTH, period=2)
    found = likely(store)
    # It begins in one of the first two segments, or at the first row of the last.
    worth = {row: given.reshape(-1)[row % given.size] for row in found}
    assert len(worth) == store.ready == 10
    assert found == pytest.approx({row: each / sum(worth.values()) for row, each in worth.items()})
    # Only values at which something may begin count.
    assert store._top[0] == LENGTH


def test_first_priorities_are_of_no_use_to_uniform_replay() -> None:
    given = np.arange(1.0, LENGTH * ENVS + 1).reshape(LENGTH, ENVS)
    store, life, layout = store_with_priorities(0.0, [given], length=LENGTH)
    assert store.ready == ENVS
    assert unpack(store.sample(1, 4, life.rng, 0.0).payload.data).keys() == {
        *(field.name for field in layout.fields if field.name != "priority")
    }


def test_a_restart_keeps_the_priorities_of_actors_and_learner() -> None:
    given = np.arange(1.0, LENGTH * ENVS + 1).reshape(LENGTH, ENVS)
    store, _, layout = store_with_priorities(0.5, [given, given * 3], length=5)
    keys = unpack(store.sample(1, 3, np.random.default_rng(0), 0.0).payload.data)["key"][0]
    store.reprioritise(keys, np.array([50.0, 60.0, 70.0]))
    again = ReplayStore(store._arena, layout, 0.5, 5)
    assert likely(again) == pytest.approx(likely(store))
    assert again._top[0] == store._top[0] == 70.0
