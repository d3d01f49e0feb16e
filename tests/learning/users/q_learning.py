"""Q-learning with a table (Watkins 1989). Nothing in it needs torch."""

import numpy as np

from rljob.algorithms.base import Acted, Actor, AlgorithmConfig, Learner, OnPolicy, Update
from rljob.algorithms.epsilon_greedy import epsilon_greedy
from rljob.algorithms.schedule import Schedule, SchedulePhase


class Config(AlgorithmConfig):
    learning_rate: Schedule[float] = Schedule(SchedulePhase(from_=0.2, to=0.005))
    gamma: float = 0.99
    epsilon: Schedule[float] = Schedule(SchedulePhase(from_=1.0, to=0.1))


class QLearning:
    Config, fields, networks = Config, (), {}

    def __init__(self, config, spaces):
        self.config, self.shape = config, (spaces.observation.n, spaces.action.n)
        self.data = OnPolicy(16)

    def actor(self, policy, place):
        return QLearningActor(self, policy, place)

    def learner(self, networks, seed):
        return QLearningLearner(self)


class QLearningActor(Actor):
    def act(self, seen):
        q, arrays = self.policy.arrays["q"][seen.observation], self.policy.arrays
        epsilon = 0.0 if self.place.greedy else arrays["epsilon"]
        return Acted(epsilon_greedy(q, epsilon, self.rng, seen.mask))


class QLearningLearner(Learner):
    def __init__(self, algorithm):
        self.config, self.q = algorithm.config, np.zeros(algorithm.shape)

    def update(self, batch, progress):
        rate, gamma = self.config.learning_rate.at(progress), self.config.gamma
        for row in zip(*np.nonzero(batch["valid"]), strict=True):
            following = self.q[batch["observation"][row[0] + 1, row[1]]].max()
            target = batch["reward"][row] + gamma * following * ~batch["terminated"][row]
            entry = batch["observation"][row], batch["action"][row]
            self.q[entry] += rate * (target - self.q[entry])
        return Update({"mean_q": self.q.mean()})

    def publish(self, progress):
        return {"q": self.q, "epsilon": self.config.epsilon.at(progress)}
