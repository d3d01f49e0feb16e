"""Atari through ale-py's vector form: what a rollout gets of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rljob.envs.factory import group_sizes
from rljob.envs.vector import Environments
from rljob.errors import InputError, RunError
from rljob.spec import EnvironmentSpec

FRAMES = {"max_num_frames_per_episode": 200, "noop_max": 0, "repeat_action_probability": 0.0}
"""Episodes of 50 steps, each of 4 frames."""


def pong(count: int = 2, **kwargs: Any) -> Environments:
    return Environments(EnvironmentSpec(id="ALE/Pong-v5", kwargs={**FRAMES, **kwargs}), count)


def test_steps_are_stored_as_bytes_of_stacked_frames() -> None:
    environments = pong()
    space = environments.spaces.observation
    assert environments.vectorised
    assert (space.shape, space.dtype) == ((4, 84, 84), np.uint8)
    observation = environments.reset(seed=1).copy()
    step = environments.step(np.array([0, 1]))
    assert step.observation.dtype == np.uint8
    assert step.reward.dtype == np.float32
    # The newest frame is the last one; the others move up.
    np.testing.assert_array_equal(step.observation[:, :3], observation[:, 1:])


def test_an_episode_ends_with_its_own_observation_and_the_next_step_resets() -> None:
    environments = pong(count=1)
    first = environments.reset(seed=1).copy()
    steps = [environments.step(np.array([t % 6])) for t in range(50)]
    ends = [t for t, step in enumerate(steps) if step.ended[0]]
    assert ends == [49]
    assert steps[49].truncated[0]
    assert not steps[49].terminated[0]
    assert not environments.valid[0]
    before, last = (step.observation[0] for step in steps[-2:])
    np.testing.assert_array_equal(last[:3], before[1:])
    begun = environments.step(np.array([2]))
    assert begun.reward[0] == 0
    assert environments.valid[0]
    np.testing.assert_array_equal(begun.observation, first)


@pytest.mark.parametrize("seed", [7, 2**32 - 1])
def test_a_seed_decides_everything(seed: int) -> None:
    def play(environments: Environments) -> bytes:
        rng = np.random.default_rng(0)
        seen = [environments.reset(seed).copy()]
        seen += [environments.step(rng.integers(6, size=2)).observation for _ in range(60)]
        return b"".join(each.tobytes() for each in seen)

    options = {"noop_max": 30, "repeat_action_probability": 0.25}
    environments = pong(**options)
    once = play(environments)
    assert play(environments) == once
    assert play(pong(**options)) == once


def test_its_own_settings_are_taken() -> None:
    environments = pong(stack_num=2, img_height=42, img_width=44)
    assert environments.spaces.observation.shape == (2, 42, 44)


def test_it_is_told_that_there_are_no_videos() -> None:
    with pytest.raises(InputError, match=r"ALE/Pong-v5 cannot be recorded: .* vector form"):
        Environments(EnvironmentSpec(id="ALE/Pong-v5"), 1, pictures=True)


def test_halves_are_stepped_in_turn() -> None:
    spec = EnvironmentSpec(id="ALE/Pong-v5")
    assert [group_sizes(spec, count) for count in (8, 7)] == [(4, 4), (7,)]
    assert group_sizes(EnvironmentSpec(id="CartPole-v1"), 8) == (8,)
    assert group_sizes(EnvironmentSpec(entry_point="a:b"), 8) == (8,)


def test_sending_does_not_wait_for_the_step() -> None:
    environments = pong()
    environments.reset(seed=1)
    environments.send(np.array([0, 1]))
    first = environments.receive().observation.copy()
    environments.send(np.array([0, 1]))
    second = environments.receive().observation
    np.testing.assert_array_equal(first[:, 1:], second[:, :3])


def test_what_it_cannot_take_is_told() -> None:
    with pytest.raises(InputError, match="reward_cliping") as caught:
        pong(reward_cliping=False)
    assert caught.value.path == "environment.kwargs"
    environments = pong()
    environments.reset(seed=1)
    with pytest.raises(RunError, match="environments raised at step 0"):
        environments.step(np.zeros(3, np.int64))
