"""CartPole that shows positions and no velocities: a policy has to remember."""

import gymnasium
import numpy as np


def make():
    space = gymnasium.spaces.Box(-10, 10, (2,), np.float32)
    environment = gymnasium.make("CartPole-v1")
    return gymnasium.wrappers.TransformObservation(environment, lambda seen: seen[[0, 2]], space)
