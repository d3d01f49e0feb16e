"""Environments of several agents: each agent is a column, and what is told of episodes is the team's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rljob import spec
from rljob.algorithms.base import (
    Acted,
    Actor,
    AlgorithmConfig,
    Arrays,
    Learner,
    OnPolicy,
    Place,
    Policy,
    Replay,
    Seen,
)
from rljob.cli.check import lines
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.envs.vector import Environments
from rljob.errors import InputError, RLJobError, RunError
from rljob.nets.acting import ActingNetworks
from rljob.plan import trial
from rljob.roles.evaluator import recording
from rljob.roles.evaluator.play import play
from rljob.roles.rollout.collect import Collector
from rljob.spec import EnvironmentSpec
from rljob.wire.experience import ExperienceFormat
from tests.integration import crew
from tests.unit.specs import job

AGENTS, STEPS = len(crew.LIVES), max(crew.LIVES)
TEAM = sum(life * (number + 1) for number, life in enumerate(crew.LIVES)) / AGENTS
"""The return of an episode."""


def made(
    count: int = 2,
    factory: str = "Crew",
    limit: int | None = None,
    used: bool = True,
    **kwargs: Any,
) -> Environments:
    """Args: `limit` is `maxEpisodeSteps`; `used` whether masks are."""
    values = {"entryPoint": f"{crew.__name__}:{factory}", "kwargs": kwargs}
    values |= {"maxEpisodeSteps": limit, "masks": None if used else False}
    return Environments(EnvironmentSpec.model_validate(values), count)


class Watching(Actor):
    """Takes the first allowed action, and keeps what it sees."""

    seen: list[Seen]

    def act(self, seen: Seen) -> Acted:
        vars(self).setdefault("seen", []).append(seen)
        Watching.last = self
        return Acted(np.zeros(len(seen.valid), np.int64))

    last: Watching


class Watch:
    """An algorithm without networks that learns nothing."""

    Config = AlgorithmConfig
    networks: Mapping[str, Any] = {}
    fields = ()

    def __init__(self, config: AlgorithmConfig, spaces: Spaces) -> None:
        self.data: OnPolicy | Replay = OnPolicy(16)

    def actor(self, policy: Policy, place: Place) -> Actor:
        return Watching(self, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> Learner:
        return Learner()


def collected(envs: Environments, length: int, games: int) -> tuple[Arrays, np.ndarray]:
    """A segment, and its episodes."""
    plan = ExperienceFormat.of(OnPolicy(length), (), games, envs.spaces)
    _, segment = plan.layout.allocate()
    algorithm: Any = Watch(AlgorithmConfig(), envs.spaces)
    collector = Collector([envs], ActingNetworks({}), algorithm, length)
    collector.reset((0,))
    return segment, collector.collect(segment, lambda: None)


def test_agents_are_columns_beside_each_other() -> None:
    envs = made(2)
    state = BoxSpace((2,), low=-1000, high=1000, environment_dtype=np.dtype(np.float64))
    seen = BoxSpace((3,), low=-1000, high=1000, environment_dtype=np.dtype(np.float64))
    assert envs.spaces == Spaces(seen, DiscreteSpace(2), agents=AGENTS, state=state)
    assert (envs.count, envs.games) == (2 * AGENTS, None)
    length = 2 * (STEPS + 1)
    segment, episodes = collected(envs, length, games=2)

    lives = np.tile(crew.LIVES, 2)
    steps = np.arange(length)[:, None] % (STEPS + 1)
    takes = steps < lives
    np.testing.assert_array_equal(segment["valid"], takes)
    numbers = np.tile(np.arange(AGENTS), 2)
    np.testing.assert_array_equal(segment["reward"], takes * (numbers + 1))
    # An end is told once, in the last step of the agent; what it saw then stays.
    ends = steps == lives - 1
    np.testing.assert_array_equal(segment["terminated"], ends & (numbers != AGENTS - 1))
    np.testing.assert_array_equal(segment["truncated"], ends & (numbers == AGENTS - 1))
    rows = np.arange(length + 1)[:, None]
    at = rows % (STEPS + 1)
    np.testing.assert_array_equal(segment["observation"][..., 0], np.tile(numbers, (len(at), 1)))
    np.testing.assert_array_equal(segment["observation"][..., 2], np.minimum(at, lives))
    np.testing.assert_array_equal(segment["state"][..., 1], np.tile(at, 2))
    np.testing.assert_array_equal(segment["state"][..., 0], np.tile(rows // (STEPS + 1), 2))
    assert episodes == pytest.approx(np.array([[TEAM, STEPS, TEAM]] * 4))


def test_an_episode_begins_for_all_agents_at_once() -> None:
    segment, _ = collected(made(1), 2 * (STEPS + 1), games=1)
    begins = np.stack([seen.begins for seen in Watching.last.seen])
    first = np.arange(len(begins))[:, None] % (STEPS + 1) == 0
    np.testing.assert_array_equal(begins, np.broadcast_to(first, begins.shape))
    assert begins[segment["valid"] == 0].sum() == 0


@pytest.mark.parametrize("masks", ["info", "dict"])
def test_agents_tell_which_actions_are_allowed(masks: str) -> None:
    envs = made(2, masks=masks)
    assert envs.spaces.masked
    segment, _ = collected(envs, 3 * STEPS, games=2)
    at = segment["observation"][..., 2]
    valid = segment["valid"]
    np.testing.assert_array_equal(segment["mask"][:-1][valid][:, 1], at[:-1][valid] % 2 == 0)
    assert segment["mask"][..., 0].all()
    envs.reset(0)
    envs.step(np.ones(envs.count, np.int64))
    with pytest.raises(RunError, match="action 1 in agent 1 of environment 0, whose mask allows"):
        envs.step(np.array([0, 1, 0, 0, 0, 0]))


@pytest.mark.parametrize("masks", ["info", "dict"])
def test_masks_of_agents_can_be_passed_over(masks: str) -> None:
    envs = made(1, masks=masks, used=False)
    assert not envs.spaces.masked
    segment, _ = collected(envs, STEPS, games=1)
    assert "mask" not in segment
    assert segment["observation"][0].tolist() == [[number, 0, 0] for number in range(AGENTS)]


def test_a_limit_truncates_the_agents_that_are_left() -> None:
    segment, episodes = collected(made(1, limit=3), 4, games=1)
    lives = np.minimum(crew.LIVES, 3)
    np.testing.assert_array_equal(segment["valid"], np.arange(4)[:, None] < lives)
    assert segment["truncated"][2].tolist() == [False, True, True]
    assert episodes[:, 1].tolist() == [3]


def test_an_evaluation_counts_episodes_of_teams() -> None:
    envs = made(2)
    found = play(envs, ActingNetworks({}), Watch(AlgorithmConfig(), envs.spaces), 5, 0)  # type: ignore[arg-type]
    assert found.returns == pytest.approx([TEAM] * 5)
    assert found.lengths.tolist() == [STEPS] * 5


def test_an_episode_of_a_team_is_recorded_to_its_end(tmp_path: Path) -> None:
    environment = {"entryPoint": f"{crew.__name__}:Crew"}
    algorithm = {"entryPoint": f"{__name__}:Watch"}
    made_job = spec.parse(job(environment=environment, algorithm=algorithm))
    recorder = recording.EpisodeRecorder(made_job)
    found = recorder.record({}, tmp_path / "team.gif", 0)
    recorder.close()
    assert (found.steps, found.whole) == (STEPS, True)
    assert found.returned == pytest.approx(TEAM)


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"fault": "sizes"}, r"agent 'agent_0' has the observation space .* agent 'agent_1' has"),
        ({"fault": "missing"}, r"agent 0 of environment 0 \('agent_0'\) got no reward: expected"),
        ({"fault": "list"}, "got no reward: expected a dict with the key 'agent_0'"),
        ({"fault": "reward"}, "got the reward None, expected one number"),
        ({"fault": "flag"}, r"agent 1 of environment 0 .* got terminated 'no', expected True"),
        ({"fault": "shape"}, r"agent 0 of .* got an observation of shape \(2,\), expected \(3,\)"),
        ({"fault": "shape", "at": 0}, r"observation of shape \(2,\), expected \(3,\)"),
        ({"fault": "raise"}, "environment 0 raised at step 0: OSError: lost at sea"),
        ({"fault": "state"}, r"environment 0 returned a state of shape \(3,\), expected \(2,\)"),
        ({"fault": "mask", "masks": "info"}, "agent 0 of environment 0 gave at step 0 an action"),
        ({"lives": ()}, "possible_agents is empty"),
        ({"factory": "different"}, "environments with different possible_agents"),
        (
            {"factory": "declares_a_space"},
            "whose observation_space is no method of an agent's name",
        ),
        ({"factory": "has_no_state"}, r"which has a state_space and no method state\(\)"),
        ({"factory": "TurnTaking"}, "expected a gymnasium.Env, or a parallel environment"),
    ],
)
def test_what_is_wrong_is_told_with_agent_and_environment(kwargs: Any, text: str) -> None:
    with pytest.raises(RLJobError, match=text) as caught:
        collected(made(2, **kwargs), 4, games=2)
    if kwargs.get("fault") != "raise":
        assert isinstance(caught.value, InputError)
        assert str(caught.value.path).startswith("environment")


def test_agents_are_drawn_together_only_as_those_of_an_environment() -> None:
    spaces = made(1).spaces
    replay = Replay(4, 8, 16, 1.0, agents=2)
    with pytest.raises(InputError, match="agents is 2, and an environment has 3; with agents=sp"):
        ExperienceFormat.of(replay, (), 2, spaces)
    with pytest.raises(ValueError, match="agents is 0, and has to be above 0"):
        Replay(4, 8, 16, 1.0, agents=0)


@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_every_algorithm_trains_agents_one_by_one(
    algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "SECONDS", 0.0)
    environment = {"entryPoint": f"{crew.__name__}:Crew", "kwargs": {"masks": "dict"}}
    made_job = spec.parse(job(environment=environment, algorithm={"name": algorithm}))
    found = trial.try_out(made_job)
    assert (found.agents, found.environments) == (AGENTS, made_job.spec.rollout.envs_per_replica)
    assert found.returns == pytest.approx([TEAM] * len(found.returns))
    told = "\n".join(lines(made_job, found))
    assert f"one by one, {AGENTS} agents each" in told
    assert "Box(-1000.0, 1000.0, (2,), float64); for the learner" in told
    assert found.to_json()["agents"] == AGENTS
