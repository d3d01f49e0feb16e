"""The game by which QMIX was explained (Rashid et al. 2018, section 6.1): two agents, two steps, one reward for both.

It has the form of PettingZoo's ParallelEnv. What an agent sees is the state and who it is."""

import numpy as np
from gymnasium import spaces

START, SAFE, RISKY = range(3)
RISKY_PAYOFF = ((0.0, 1.0), (1.0, 8.0))


class TwoStep:
    """The first step's action of the first agent alone leads to a state where every pair of actions is worth 7, or to
    one where agents who trust each other get 8."""

    possible_agents = ("first", "second")
    state_space = spaces.Discrete(3)

    def observation_space(self, agent):
        return spaces.MultiDiscrete([3, 2])

    def action_space(self, agent):
        return spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.agents, self.now = list(self.possible_agents), START
        return self._seen(), {}

    def step(self, actions):
        first, second = (int(actions[agent]) for agent in self.possible_agents)
        over, reward = self.now != START, 0.0
        if over:
            reward = 7.0 if self.now == SAFE else RISKY_PAYOFF[first][second]
            self.agents = []
        else:
            self.now = (SAFE, RISKY)[first]
        rewards, ends, cuts = (
            dict.fromkeys(self.possible_agents, each) for each in (reward, over, False)
        )
        return self._seen(), rewards, ends, cuts, {}

    def state(self):
        return np.array(self.now)

    def close(self):
        pass

    def _seen(self):
        return {
            agent: np.array([self.now, number]) for number, agent in enumerate(self.possible_agents)
        }


def make():
    return TwoStep()
