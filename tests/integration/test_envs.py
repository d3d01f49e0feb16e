"""Environments stepped as one: what a segment is made of, exact statistics, and bad environments."""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from rljob.envs import factory
from rljob.envs.episodes import EpisodeStatistics
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.envs.vector import Environments
from rljob.errors import InputError, RLJobError, RunError, UserCodeError
from rljob.spec import EnvironmentSpec

Rollout = dict[str, np.ndarray]
ENGINES = [True, False]


class Scripted(gymnasium.Env[np.ndarray, np.int64]):
    """Episodes of known lengths, ending as the script says, which a seed begins anew.

    The observation is (episode, step of the episode), the reward 1/4 for each step already made.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Discrete(3, start=5)

    def __init__(self, script: str = "T2 C3 T1") -> None:
        self.script = script.split()
        self.episode, self.now = -1, 0
        self.actions: list[int] = []

    def _observe(self) -> np.ndarray:
        return np.array([self.episode, self.now], np.float64)

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self.episode, self.now = self.episode + 1 if seed is None else 0, 0
        return self._observe(), {"ignored": True}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        how, length = self.script[self.episode][0], int(self.script[self.episode][1:])
        self.now += 1
        over = self.now == length
        return self._observe(), self.now / 4, over and how != "C", over and how != "T", {}


class Broken(Scripted):
    """An environment that goes wrong in a chosen way at a chosen step."""

    def __init__(self, how: str, at: int = 1) -> None:
        super().__init__("T9")
        self.how, self.at = how, at

    def _observe(self) -> np.ndarray:
        if self.now != self.at:
            return super()._observe()
        if self.how == "shape":
            return np.zeros((3,))
        if self.how == "nan":
            return np.array([0.0, np.nan])
        return np.array(["a", "b"]) if self.how == "dtype" else super()._observe()

    def step(self, action: np.int64) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        if self.now == self.at and self.how == "raise":
            raise KeyError("a door\nis missing")
        given = [reward] if self.how == "reward" else reward
        return observation, given, terminated, truncated, info

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        if self.how == "reset":
            raise OSError("no such level")
        return super().reset(**options)


class Everything(gymnasium.Env[Any, Any]):
    """Gives back the action that it was given."""

    def __init__(self, kind: str) -> None:
        known: dict[str, gymnasium.Space[Any]] = {
            "box": spaces.Box(np.float32(0), np.float32(10), (2,)),
            "discrete": spaces.Discrete(4, start=-1),
            "multi": spaces.MultiDiscrete(np.array([[2, 3], [4, 5]])),
            "dict": spaces.Dict({"a": spaces.Discrete(2)}),
        }
        self.action_space = self.observation_space = known[kind]

    def reset(self, **_: Any) -> tuple[np.ndarray, dict[str, Any]]:
        return self.action_space.sample(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        return action, 0.0, False, False, {}


SHARED = Scripted()


def same_again() -> Scripted:
    return SHARED


def raising() -> Scripted:
    raise RuntimeError("the simulator\nis not running")


def not_an_environment() -> int:
    return 3


def advised() -> Scripted:
    """Gymnasium warns of the bounds' precision."""
    env = Scripted()
    env.observation_space = spaces.Box(np.zeros(2), np.ones(2), dtype=np.float32)
    return env


def vector(
    num_envs: int, mode: str = "NextStep", more: int = 0
) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    return gymnasium.vector.SyncVectorEnv([Scripted] * (num_envs + more), autoreset_mode=mode)


def vector_of_nothing(num_envs: int) -> Scripted:
    return Scripted()


def vector_in_disguise() -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    return vector(2)


def own(factory: Any, **kwargs: Any) -> EnvironmentSpec:
    return EnvironmentSpec(entry_point=f"{__name__}:{factory.__name__}", kwargs=kwargs)


def roll(envs: Environments, steps: int, seed: int | None = None, action: Any = None) -> Rollout:
    """A segment as a rollout records it."""
    if action is None:
        action = np.zeros((envs.count, *envs.spaces.action.shape), envs.spaces.action.dtype)
    rows: dict[str, list[np.ndarray]] = {
        name: [] for name in ("observation", "reward", "terminated", "truncated", "valid")
    }
    rows["observation"].append(envs.reset(seed).copy())
    for _ in range(steps):
        rows["valid"].append(envs.valid)
        step = envs.step(action)
        for name in ("observation", "reward", "terminated", "truncated"):
            rows[name].append(getattr(step, name).copy())
        np.testing.assert_array_equal(step.ended, step.terminated | step.truncated)
        np.testing.assert_array_equal(envs.valid, ~step.ended)
    envs.close()
    return {name: np.stack(values) for name, values in rows.items()}


@pytest.mark.parametrize("factory", [Scripted, vector])
def test_a_segment_keeps_the_end_of_an_episode(factory: Any) -> None:
    envs = Environments(own(factory), 2)
    assert envs.vectorised is (factory is vector)
    segment = roll(envs, 9)
    observation, reward = segment["observation"], segment["reward"]
    assert observation.dtype == reward.dtype == np.dtype(np.float32)
    # Episodes T2, C3, T1: row t + 1 is what followed row t, and the row after an end only resets.
    expected = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1), (3, 0)]
    for index in range(2):
        np.testing.assert_array_equal(observation[:, index], expected)
        np.testing.assert_array_equal(reward[:, index] * 4, [1, 2, 0, 1, 2, 3, 0, 1, 0])
        assert np.flatnonzero(segment["terminated"][:, index]).tolist() == [1, 7]
        assert np.flatnonzero(segment["truncated"][:, index]).tolist() == [5]
        assert np.flatnonzero(~segment["valid"][:, index]).tolist() == [2, 6, 8]


def test_both_ends_at_once_are_both_told() -> None:
    segment = roll(Environments(own(Scripted, script="B2 T1"), 1), 2)
    assert segment["terminated"][:, 0].tolist() == [False, True]
    assert segment["truncated"][:, 0].tolist() == [False, True]


@pytest.mark.parametrize("length", [1, 4, 15])
def test_statistics_count_every_episode_exactly(length: int) -> None:
    segment = roll(Environments(own(Scripted, script="T2 C3 T1 T4 T9"), 3), 15)
    statistics = EpisodeStatistics(3, 0.5)
    # A reward on a row that only resets is no part of an episode.
    reward = np.where(segment["valid"], segment["reward"], 100)
    ended = segment["terminated"] | segment["truncated"]
    counted = [
        statistics.update(*(each[at : at + length] for each in (reward, ended, segment["valid"])))
        for at in range(0, 15, length)
    ]
    assert all(each.dtype == np.float64 for each in counted)
    ends = [0, 3, 0, 0, 0, 3, 0, 3, 0, 0, 0, 0, 3, 0, 0]
    assert [len(each) for each in counted] == [
        sum(ends[at : at + length]) for at in range(0, 15, length)
    ]
    discounted = [sum((n + 1) / 4 * 0.5**n for n in range(length)) for length in (2, 3, 1, 4)]
    expected = [(0.75, 2), (1.5, 3), (0.25, 1), (2.5, 4)]
    expected = np.column_stack([expected, discounted])
    np.testing.assert_array_equal(np.concatenate(counted), np.repeat(expected, 3, axis=0))


def test_statistics_keep_environments_apart_and_add_in_float64() -> None:
    small, large = np.float32(1e-3), np.float32(1e6)
    reward = np.full((5, 2), (small, 1.0), np.float32)
    reward[0, 0] = large
    ended = np.zeros((5, 2), np.bool_)
    ended[4, 0] = ended[2, 1] = True
    statistics = EpisodeStatistics(2)
    # In the order in which they ended, which is not that of the environments.
    episodes = statistics.update(reward, ended, np.ones((5, 2), np.bool_))
    total = float(large) + 4 * float(small)
    np.testing.assert_array_equal(episodes, [(3.0, 3, 3.0), (total, 5, total)])
    ended[:] = False
    assert statistics.update(reward, ended, np.ones((5, 2), np.bool_)).shape == (0, 3)


def in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory, "_from_vector_entry_point", lambda *_: None)


def cartpole(
    vectorised: bool, count: int, monkeypatch: pytest.MonkeyPatch, **kwargs: Any
) -> Environments:
    if not vectorised:
        in_turn(monkeypatch)
    envs = Environments(EnvironmentSpec(id="CartPole-v1", kwargs=kwargs), count)
    assert envs.vectorised is vectorised
    return envs


@pytest.mark.parametrize("vectorised", ENGINES)
def test_converted_spaces(vectorised: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same episode as without: a pole that is pushed to the side to which it leans."""
    cells = {"to": "discrete", "divisions": [2], "low": [-0.3], "high": [0.3]}
    convert = {"observation": cells, "action": {"to": "continuous"}}
    plain = cartpole(vectorised, 2, monkeypatch)
    spec = EnvironmentSpec.model_validate({"id": "CartPole-v1", "convert": convert})
    envs = Environments(spec, 2)
    own_spaces = (plain.spaces.observation, plain.spaces.action)
    spaces = Spaces(DiscreteSpace(16), BoxSpace((1,), low=-1.0, high=1.0), unconverted=own_spaces)
    assert envs.spaces == spaces
    assert envs.own_spaces == plain.spaces
    seen, own = envs.reset(seed=3), plain.reset(seed=3)
    for _ in range(30):
        # The cells are the signs of the four numbers; that of the angle has the value 2.
        np.testing.assert_array_equal(seen, (own >= 0) @ [8, 4, 2, 1])
        leans = (own[:, 2] >= 0).astype(np.int64)
        np.testing.assert_array_equal(leans, seen // 2 % 2)
        step, other = envs.step(leans[:, None] * 2.0 - 1.0), plain.step(leans)
        np.testing.assert_array_equal(step.ended, other.ended)
        seen, own = step.observation, other.observation


@pytest.mark.parametrize("vectorised", ENGINES)
def test_time_limit_truncates(vectorised: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = roll(cartpole(vectorised, 3, monkeypatch, max_episode_steps=5), 12)
    assert np.flatnonzero(segment["truncated"].all(axis=1)).tolist() == [4, 10]
    assert np.flatnonzero(~segment["valid"].any(axis=1)).tolist() == [5, 11]
    assert not segment["terminated"].any()
    np.testing.assert_array_equal(segment["reward"], segment["valid"].astype(np.float32))


@pytest.mark.parametrize("vectorised", ENGINES)
def test_time_limit_of_the_registry_holds(
    vectorised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    envs = cartpole(vectorised, 2, monkeypatch)
    observation = envs.reset(seed=1)
    for _ in range(499):
        push = observation @ np.array([0.05, 0.3, 1.0, 0.6], np.float32) > 0
        step = envs.step(push.astype(np.int64))
        assert not step.ended.any()
        observation = step.observation
    step = envs.step(np.zeros(2, np.int64))
    assert step.truncated.all()
    assert not step.terminated.any()


def test_kwargs_reach_the_vector_form(monkeypatch: pytest.MonkeyPatch) -> None:
    segment = roll(cartpole(True, 1, monkeypatch, sutton_barto_reward=True), 11)
    first_end = int(np.argmax(segment["terminated"][:, 0]))
    assert segment["reward"][: first_end + 1, 0].tolist() == [0.0] * first_end + [-1.0]


def test_vector_form_and_single_environments_mean_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each transition of the vector form, replayed in a single environment from the same state."""
    single: Any = gymnasium.make("CartPole-v1", disable_env_checker=True).unwrapped
    single.reset(seed=0)
    ends = 0
    for vectorised in ENGINES:
        segment = roll(cartpole(vectorised, 4, monkeypatch), 40, seed=3)
        for t, i in np.ndindex(40, 4):
            before, after = segment["observation"][t, i], segment["observation"][t + 1, i]
            if not segment["valid"][t, i]:
                ends += 1
                assert segment["terminated"][t - 1, i]
                assert np.abs(after).max() <= 0.05
                assert segment["reward"][t, i] == 0
                assert not segment["terminated"][t, i]
                continue
            single.state, single.steps_beyond_terminated = tuple(before.astype(float)), None
            expected, reward, terminated, _, _ = single.step(0)
            np.testing.assert_allclose(after, expected, atol=1e-6)
            assert (reward, terminated) == (segment["reward"][t, i], segment["terminated"][t, i])
    assert ends > 20


@pytest.mark.parametrize("vectorised", ENGINES)
def test_a_seed_decides_everything(vectorised: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    first, again, other, next_seed = (
        roll(cartpole(vectorised, 3, monkeypatch), 30, seed)["observation"] for seed in (7, 7, 9, 8)
    )
    np.testing.assert_array_equal(first, again)
    starts = np.concatenate([first[0], other[0], next_seed[0]])
    # Neighbouring seeds share no environment: replicas with seeds in a row see different episodes.
    assert len(np.unique(starts, axis=0)) == 9


@pytest.mark.parametrize(
    ("kind", "action", "taken"),
    [
        ("box", [[-1, 1], [0, 5]], [[0, 10], [5, 10]]),
        ("discrete", [0, 3], [0, 3]),
        ("multi", [[0, 0, 0, 0], [1, 2, 3, 4]], [[0, 0, 0, 0], [1, 2, 3, 4]]),
    ],
)
def test_actions_and_observations_are_in_stored_units(kind: str, action: Any, taken: Any) -> None:
    envs = Environments(own(Everything, kind=kind), 2)
    stored = np.array(action, envs.spaces.action.dtype)
    envs.reset(0)
    step = envs.step(stored)
    assert step.observation.dtype == envs.spaces.observation.dtype
    np.testing.assert_array_equal(step.observation, np.array(taken))


def test_a_space_that_is_not_supported_is_named() -> None:
    with pytest.raises(InputError) as caught:
        Environments(own(Everything, kind="dict"), 1)
    assert caught.value.path == "environment"
    assert "the observation space Dict('a': Discrete(2)) is not supported" in caught.value.message


def test_gymnasium_advice_is_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gymnasium.logger, "min_level", gymnasium.logger.WARN)
    with pytest.warns(UserWarning, match="precision lowered"):
        advised()
    # Warnings are errors here.
    Environments(own(advised), 1).close()


@pytest.mark.parametrize(
    ("spec", "path", "words"),
    [
        (EnvironmentSpec(id="Cartpole-v1"), "id", "did you mean CartPole-v1"),
        (EnvironmentSpec(id="Qwerty-v1"), "id", "is written module:id"),
        (EnvironmentSpec(id="MiniGrid/Nothing-v0"), "id", "Try: pip install minigrid"),
        (EnvironmentSpec(id="ALE/Pnog-v5"), "id", "did you mean ALE/Pong-v5"),
        (EnvironmentSpec(id="no_such_module_here:X-v0"), "id", "cannot import no_such_module_here"),
        (EnvironmentSpec(id="CartPole-v1", kwargs={"gravty": 1}), "kwargs", "'gravty'"),
        (EnvironmentSpec(id="CartPole-v1", kwargs={"num_envs": 1}), "kwargs.num_envs", "envsPer"),
        (EnvironmentSpec(entry_point="no_such_module_here:make"), "entryPoint", "cannot import"),
        (EnvironmentSpec(entry_point=f"{__name__}:Scriptd"), "entryPoint", "Did you mean Scripted"),
        (
            EnvironmentSpec(entry_point=f"{__name__}:ENGINES"),
            "entryPoint",
            "a list, not a function",
        ),
        (own(raising), "entryPoint", "raised RuntimeError: the simulator is not running"),
        (own(not_an_environment), "entryPoint", "a builtins.int, expected a gymnasium.Env"),
        (own(same_again), "entryPoint", "returned the same environment twice"),
        (own(Scripted, scrpt="T1"), "kwargs", "Scripted takes script"),
        (own(vector, mode="SameStep"), "entryPoint", "rljob needs AutoresetMode.NEXT_STEP"),
        (own(vector, more=1), "entryPoint", "asked for 2 environments and returned 3"),
        (
            own(vector_of_nothing),
            "entryPoint",
            "such a factory must return a gymnasium.vector.VectorEnv",
        ),
        (
            own(vector_in_disguise),
            "entryPoint",
            "a factory of vector environments must take num_envs",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_made_is_told_with_its_field(
    spec: EnvironmentSpec, path: str, words: str
) -> None:
    with pytest.raises(InputError) as caught:
        Environments(spec, 2)
    assert caught.value.path == f"environment.{path}"
    assert words in caught.value.message
    assert "\n" not in caught.value.message


def test_the_cause_is_kept() -> None:
    with pytest.raises(InputError) as caught:
        Environments(own(raising), 1)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_missing_extra_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Box2D", None)
    with pytest.raises(InputError, match=r"environment\.id: LunarLander-v3 .*pip install"):
        Environments(EnvironmentSpec(id="LunarLander-v3"), 1)


@pytest.mark.parametrize(
    ("how", "at", "words"),
    [
        ("reset", 0, "environment 0 raised at reset: OSError: no such level"),
        ("raise", 2, "environment 0 raised at step 1: KeyError: 'a door\\nis missing'"),
        ("shape", 0, "environment 0 returned an observation of shape (3,), expected (2,)"),
        ("shape", 3, "environment 0 returned an observation of shape (3,), expected (2,)"),
        ("dtype", 1, "environment 0 returned an observation of <U1, expected float32"),
        ("reward", 9, "environment 0 returned the reward [0.25], expected one number"),
    ],
)
def test_an_environment_that_breaks_is_told_with_its_number(how: str, at: int, words: str) -> None:
    with pytest.raises(RLJobError) as caught:
        roll(Environments(own(Broken, how=how, at=at), 2), 5)
    assert str(caught.value).removeprefix("environment: ").startswith(words)
    # A wrong form at the first step is the author's error, for which no restart is a remedy.
    assert isinstance(caught.value, InputError) == (
        how == "reward" or (how in ("shape", "dtype") and at < 2)
    )
    if how in ("reset", "raise"):
        assert isinstance(caught.value, UserCodeError)
        assert f"{__file__}:" in str(caught.value)
        assert caught.value.trace.count("File ") == 1


def test_a_vector_environment_that_breaks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    envs = Environments(own(vector), 2)
    envs.reset()
    good = Scripted.step

    def wrong(self: Scripted, action: np.int64) -> Any:
        raise RuntimeError("out of fuel")

    monkeypatch.setattr(Scripted, "step", wrong)
    with pytest.raises(RunError, match="raised at step 0: RuntimeError: out of fuel"):
        envs.step(np.zeros(2, np.int64))
    monkeypatch.setattr(Scripted, "step", good)
    monkeypatch.setattr(
        gymnasium.vector.SyncVectorEnv, "step", lambda *_: (np.zeros((2, 9)), 0, 0, 0, {})
    )
    message = r"the environments returned observations of shape \(2, 9\), expected \(2, 2\)"
    with pytest.raises(RLJobError, match=message):
        envs.step(np.zeros(2, np.int64))
