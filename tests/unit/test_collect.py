"""One segment holds what happened, in its place, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import pytest

from rljob.algorithms.base import Acted, Actor, Arrays, Place, Policy, Seen
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.envs.vector import Step
from rljob.errors import RunError
from rljob.nets.acting import ActingNetworks
from rljob.roles.rollout.collect import Collector

ENVS = 3


class Counting:
    """Those of environments 0, 1, 2 whose numbers are given. Their episodes have 3, 4 and 5 steps; the
    first two terminate, the last is cut off.

    An observation is (environment, episode, step); the reward of a step is its number.
    """

    def __init__(self, *numbers: int) -> None:
        self.count, self._numbers = len(numbers), np.array(numbers)
        self.actions: list[np.ndarray] = []
        self.seeds: list[int | None] = []
        self.broken_at = -1
        self.sent = False
        self._observation = np.zeros((self.count, 3), np.float32)
        self.spaces = Spaces(BoxSpace((3,)), DiscreteSpace(1000))
        self.mask = None
        self.games = None
        self.info = None

    def reset(self, seed: int | None = None) -> np.ndarray:
        self.seeds.append(seed)
        self.valid = np.ones(self.count, np.bool_)
        self._observation[:, 0] = self._numbers
        self._observation[:, 1:] = 0
        return self._observation

    def send(self, action: np.ndarray) -> None:
        assert not self.sent, "one step after the other"
        self.actions.append(action.copy())
        self.sent = True

    def receive(self) -> Step:
        assert self.sent
        self.sent = False
        self._observation[~self.valid, 1] += 1
        self._observation[~self.valid, 2] = 0
        self._observation[self.valid, 2] += 1
        reward = np.where(self.valid, self._observation[:, 2], 0).astype(np.float32)
        if len(self.actions) == self.broken_at:
            reward[1] = np.nan
        ended = self.valid & (self._observation[:, 2] == 3 + self._numbers)
        self.valid = ~ended
        cut = self._numbers == 2
        # As the real ones may, this one overwrites its observation with the next step.
        return Step(self._observation, reward, ended & ~cut, ended & cut, ended)


class EchoingEngine:
    """Answers with its input, and remembers how often it was called in this episode."""

    core_size = 1

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        pass

    def __call__(self, *inputs: np.ndarray, core: np.ndarray | None = None) -> Arrays:
        assert core is not None
        core += 1
        return {"x": inputs[0].copy(), "calls": core.copy()}


class DrawingActor(Actor):
    """Acts at random, says the first number of what the network gave, finishes with a sum."""

    def __init__(self, algorithm: DrawingAlgorithm, policy: Policy, place: Place) -> None:
        super().__init__(algorithm, policy, place)
        self.seen: list[Seen] = []
        self.calls: list[np.ndarray] = []

    def act(self, seen: Seen) -> Acted:
        self.algorithm.before_acting()
        self.seen.append(
            Seen(
                *(each.copy() for each in (seen.observation, seen.begins, seen.valid, seen.reward))
            )
        )
        outputs = self.policy(seen)
        self.calls.append(outputs["calls"][:, 0])
        action = self.rng.integers(0, 1000, len(outputs["x"]))
        return Acted(action, {"extra": outputs["x"][:, 2] * self.policy.arrays["scale"]})

    def finish(self, segment: Arrays) -> None:
        segment["later"][:] = segment["reward"].sum()


class DrawingAlgorithm:
    """Keeps the actors that it made."""

    def __init__(self) -> None:
        self.actors: list[DrawingActor] = []
        self.before_acting: Callable[[], None] = lambda: None

    def actor(self, policy: Policy, place: Place) -> DrawingActor:
        self.actors.append(DrawingActor(self, policy, place))
        return self.actors[-1]


def empty(length: int) -> Arrays:
    """A segment's memory, with something of an older segment in it."""
    steps = (length, ENVS)
    return {
        "observation": np.full((length + 1, ENVS, 3), 99, np.float32),
        "action": np.full(steps, 99, np.int64),
        "reward": np.full(steps, 99, np.float32),
        "terminated": np.ones(steps, np.bool_),
        "truncated": np.ones(steps, np.bool_),
        "valid": np.ones(steps, np.bool_),
        "extra": np.full(steps, 99, np.float32),
        "later": np.full(steps, 99, np.float32),
    }


def make(length: int) -> tuple[Collector, Counting]:
    collector, (environments,), _ = make_groups(length, (0, 1, 2))
    return collector, environments


def make_groups(
    length: int, *groups: tuple[int, ...], **place: int
) -> tuple[Collector, list[Counting], DrawingAlgorithm]:
    environments = [Counting(*numbers) for numbers in groups]
    networks = ActingNetworks({"echo": EchoingEngine()})
    networks.load({"scale": np.array(2.0)})
    algorithm = DrawingAlgorithm()
    collector = Collector(cast(Any, environments), networks, cast(Any, algorithm), length, **place)
    collector.reset((0,))
    return collector, environments, algorithm


def collect(collector: Collector, length: int) -> tuple[Arrays, np.ndarray, int]:
    calls: list[None] = []
    segment = empty(length)
    episodes = collector.collect(segment, lambda: calls.append(None))
    return segment, episodes, len(calls)


@pytest.mark.parametrize("groups", [[(0, 1, 2)], [(0,), (1, 2)]], ids=["one", "two"])
@pytest.mark.parametrize("length", [1, 2, 5, 11])
def test_segments_join_up_to_what_happened(length: int, groups: list[tuple[int, ...]]) -> None:
    collector, made, _ = make_groups(length, *groups)
    count = -(-22 // length)
    segments = [collect(collector, length) for _ in range(count)]
    for (before, _, _), (after, _, _) in itertools.pairwise(segments):
        np.testing.assert_array_equal(before["observation"][-1], after["observation"][0])
    joined = {
        name: np.concatenate([s[name][:length] for s, _, _ in segments]) for name in empty(length)
    }
    following = np.concatenate([s["observation"][1:] for s, _, _ in segments])
    taken = np.concatenate([np.array(group.actions) for group in made], axis=1)
    np.testing.assert_array_equal(joined["action"], taken)
    for env in range(ENVS):
        steps = 3 + env
        for t in range(count * length):
            episode, step = divmod(t, steps + 1)
            resets = step == steps
            np.testing.assert_array_equal(joined["observation"][t, env], (env, episode, step))
            assert joined["valid"][t, env] == (not resets)
            then = (env, episode + 1, 0) if resets else (env, episode, step + 1)
            np.testing.assert_array_equal(following[t, env], then)
            assert joined["reward"][t, env] == (0 if resets else step + 1)
            last = step == steps - 1
            assert joined["terminated"][t, env] == (last and env != 2)
            assert joined["truncated"][t, env] == (last and env == 2)
            assert joined["extra"][t, env] == 2 * step
    assert all(calls == length for _, _, calls in segments)
    for segment, _, _ in segments:
        for numbers in map(list, groups):
            later, reward = segment["later"][:, numbers], segment["reward"][:, numbers]
            assert (later == reward.sum()).all(), "each group is finished after the last step"
    episodes = np.concatenate([e for _, e, _ in segments])
    for env in range(ENVS):
        length_of = 3 + env
        expected = count * length // (length_of + 1) + (
            count * length % (length_of + 1) == length_of
        )
        mine = episodes[episodes[:, 1] == length_of]
        assert len(mine) == expected
        assert (mine[:, 0] == length_of * (length_of + 1) / 2).all()


def test_a_seed_decides_all_that_follows() -> None:
    runs = []
    for _ in range(2):
        collector, environments = make(6)
        collect(collector, 6)
        collector.reset((7, 1))
        segment, episodes, _ = collect(collector, 6)
        runs.append((segment["action"].tolist(), episodes.tolist(), environments.seeds))
    assert runs[0] == runs[1]
    collector, environments = make(6)
    collector.reset((7, 2))
    assert collect(collector, 6)[0]["action"].tolist() != runs[0][0]
    assert environments.seeds[-1] not in runs[0][2]


def test_groups_have_seeds_of_their_own() -> None:
    collector, made, _ = make_groups(6, (0,), (1, 2))
    first, second = (group.seeds for group in made)
    assert first != second
    collector.reset((7,))
    again, (other, _), _ = make_groups(6, (0,), (1, 2))
    again.reset((7,))
    assert other.seeds[-1] == first[-1]


def test_a_group_steps_while_the_other_is_acted_for() -> None:
    seen: list[list[int]] = []
    collector, made, algorithm = make_groups(3, (0, 1), (2,))
    algorithm.before_acting = lambda: seen.append(
        [group for group, each in enumerate(made) if each.sent]
    )
    collect(collector, 3)
    assert seen == [[], [0], [1], [0], [1], [0]]


@pytest.mark.parametrize("groups", [[(0, 1, 2)], [(0,), (1, 2)]], ids=["one", "two"])
def test_an_actor_is_told_where_episodes_begin_and_what_the_step_before_gave(
    groups: list[tuple[int, ...]],
) -> None:
    collector, _, algorithm = make_groups(7, *groups)
    segments = [collect(collector, 7)[0] for _ in range(3)]
    joined = {name: np.concatenate([s[name][:7] for s in segments]) for name in empty(7)}
    for numbers, actor in zip(groups, algorithm.actors, strict=True):
        assert len(actor.seen) == 21
        for t, seen in enumerate(actor.seen):
            rows = list(numbers)
            episode_step = joined["observation"][t, rows, 2]
            np.testing.assert_array_equal(seen.observation, joined["observation"][t, rows])
            np.testing.assert_array_equal(seen.begins, episode_step == 0)
            np.testing.assert_array_equal(seen.valid, joined["valid"][t, rows])
            np.testing.assert_array_equal(seen.reward, joined["reward"][t - 1, rows] if t else 0)
            # Calls since the episode began, this one included: older memory is gone.
            np.testing.assert_array_equal(actor.calls[t], episode_step + 1)


def test_an_actor_knows_its_place_among_all_environments_of_the_job() -> None:
    collector, _, algorithm = make_groups(2, (0,), (1, 2), first=6, total=9)
    places = [actor.place for actor in algorithm.actors]
    assert [(p.first, p.count, p.total, p.greedy) for p in places] == [
        (6, 1, 9, False),
        (7, 2, 9, False),
    ]
    assert places[0].rng is places[1].rng
    collector.reset((1,))
    assert len(algorithm.actors) == 4, "actors are made anew with their episodes"
    _, _, alone = make_groups(2, (0, 1, 2))
    assert [(a.place.first, a.place.total) for a in alone.actors] == [(0, 3)]


def test_without_a_seed_runs_differ() -> None:
    collector, environments = make(6)
    actions = []
    for _ in range(2):
        collector.reset(None)
        actions.append(collect(collector, 6)[0]["action"].tolist())
    assert actions[0] != actions[1]
    assert environments.seeds[-1] is None


def test_a_reset_forgets_episodes_that_were_going_on() -> None:
    collector, _ = make(2)
    collect(collector, 2)
    collector.reset((1,))
    episodes = [collect(collector, 2)[1] for _ in range(2)]
    assert np.concatenate(episodes).tolist() == [[6.0, 3.0, 6.0], [10.0, 4.0, 10.0]]


def test_what_is_not_finite_is_named_and_goes_no_further() -> None:
    collector, environments = make(4)
    environments.broken_at = 3
    with pytest.raises(RunError, match="reward contains NaN at step 2 of environment 1"):
        collect(collector, 4)


def test_the_time_is_accounted_for() -> None:
    collector, _ = make(4)
    collect(collector, 4)
    assert collector.acting_seconds > 0
    assert collector.environment_seconds > 0


def test_an_answer_of_another_form_is_told() -> None:
    collector, _, algorithm = make_groups(4, (0, 1, 2))
    algorithm.actors[-1].act = lambda seen: Acted(np.zeros((ENVS, 1), np.int64))  # type: ignore[method-assign]

    with pytest.raises(
        RunError, match=r"DrawingActor\.act returned the action as an array \[3, 1\] of int64"
    ):
        collector.collect(empty(4), lambda: None)


def test_an_action_outside_its_space_is_named() -> None:
    collector, _ = make(2)
    # Its actor draws from a thousand.
    collector._spaces = Spaces(BoxSpace((3,)), DiscreteSpace(2))
    collector.reset((0,))

    with pytest.raises(RunError, match="action at step 0 of environment 0 is not in its space Dis"):
        collector.collect(empty(2), lambda: None)
