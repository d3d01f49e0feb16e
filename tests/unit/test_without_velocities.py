"""CartPole and Pendulum without velocities: what is shown, alone and many at once."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rljob.envs.vector import Environments
from rljob.spec import EnvironmentSpec


# Of Pendulum's actions, which are Gymnasium's.
@pytest.mark.filterwarnings("ignore:.*symmetric and normalized space")
@pytest.mark.parametrize(
    ("name", "whole", "shown"),
    [("CartPoleNoVel-v1", "CartPole-v1", [0, 2]), ("PendulumNoVel-v1", "Pendulum-v1", [0, 1])],
)
def test_all_is_as_in_gymnasium_but_what_is_shown(name: str, whole: str, shown: list[int]) -> None:
    made = gymnasium.make(f"rljob.environments:rljob/{name}")
    check_env(made.unwrapped, skip_render_check=True)
    original = gymnasium.make(whole)
    assert made.spec is not None and original.spec is not None  # noqa: PT018
    assert made.spec.max_episode_steps == original.spec.max_episode_steps
    seen, theirs = made.reset(seed=3)[0], original.reset(seed=3)[0]
    original.action_space.seed(0)
    for _ in range(30):
        np.testing.assert_array_equal(seen, theirs[shown])
        action = original.action_space.sample()
        (seen, *mine), (theirs, *others) = made.step(action), original.step(action)
        assert mine == others
        if mine[1]:
            seen, theirs = made.reset(seed=4)[0], original.reset(seed=4)[0]


def test_many_carts_at_once_show_the_same() -> None:
    environments = Environments(EnvironmentSpec(id="rljob/CartPoleNoVel-v1"), 3)
    assert environments.spaces.observation.shape == (2,)
    assert environments.reset(seed=5).shape == (3, 2)
    environments.close()
    many = gymnasium.make_vec(
        "rljob.environments:rljob/CartPoleNoVel-v1",
        num_envs=3,
        vectorization_mode="vector_entry_point",
    )
    theirs = gymnasium.make_vec("CartPole-v1", num_envs=3, vectorization_mode="vector_entry_point")
    np.testing.assert_array_equal(many.reset(seed=1)[0], theirs.reset(seed=1)[0][:, [0, 2]])
    action = np.array([0, 1, 0])
    for _ in range(20):
        np.testing.assert_array_equal(many.step(action)[0], theirs.step(action)[0][:, [0, 2]])
