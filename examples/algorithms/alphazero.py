"""AlphaZero (Silver et al. 2018, https://doi.org/10.1126/science.aar6404) for two players who take turns: a tree search
in copies of the game, led by a network that learns from what the search found and how the game ended."""

import copy
import math

import numpy as np

from rljob.algorithms.base import (
    Acted,
    Actor,
    AlgorithmConfig,
    Field,
    Head,
    Learner,
    Net,
    Replay,
    Schedule,
    SchedulePhase,
    Update,
)
from rljob.algorithms.n_step import n_step
from rljob.nets.torch_batch import tensors
from rljob.nets.torch_optimizer import FlatAdam


class Config(AlgorithmConfig):
    learning_rate: Schedule[float] = Schedule(SchedulePhase(from_=2e-3, to=1e-4))
    simulations: int = 48
    greedy_simulations: int = 200
    exploration: float = 2.0
    noise: float = 0.5
    noise_concentration: float = 1.0
    longest_game: int = 9
    rollout_length: int = 16
    batch_size: int = 64
    samples_per_insert: float = 144.0


class AlphaZero:
    Config = Config

    def __init__(self, config, spaces):
        self.config, choices = config, spaces.action.n
        heads = {"logits": Head(choices, gain=0.01), "value": Head(1)}
        self.networks = {"net": Net(heads, acts=("logits", "value"))}
        self.fields = (Field("visits", "float32", (choices,)),)
        self.data = Replay(
            config.rollout_length,
            config.batch_size,
            500,
            config.samples_per_insert,
            length=config.longest_game,
        )

    def actor(self, policy, place):
        return AlphaZeroActor(self, policy, place)

    def learner(self, networks, seed):
        return AlphaZeroLearner(self.config, networks["net"])


class Node:
    """A position in which somebody is to move; counts and sums are of the moves from here."""

    def __init__(self, game, observation, mask, reward=0.0, over=False):
        self.game, self.observation, self.mask = game, observation, mask
        self.reward, self.over = reward, over
        self.visits, self.total = np.zeros(len(mask)), np.zeros(len(mask))
        self.children = {}

    def expand(self, logits):
        weights = np.where(self.mask, np.exp(logits - logits[self.mask].max()), 0)
        self.prior = weights / weights.sum()

    def best(self, exploration):
        bonus = exploration * self.prior * math.sqrt(self.visits.sum() + 1) / (1 + self.visits)
        score = self.total / np.maximum(self.visits, 1) + bonus
        return int(np.where(self.mask, score, -np.inf).argmax())

    def child(self, action):
        if action not in self.children:
            game = copy.deepcopy(self.game)
            observation, reward, over, _, info = game.step(action)
            mask = info["action_mask"].astype(bool)
            self.children[action] = Node(game, observation, mask, reward, over)
        return self.children[action]


class AlphaZeroActor(Actor):
    def act(self, seen):
        games = np.flatnonzero(seen.valid)
        roots = [Node(self.copy(i), seen.observation[i], seen.mask[i]) for i in games]
        self.search(roots)
        visits = np.full(seen.mask.shape, 1 / seen.mask.shape[1], np.float32)
        for i, root in zip(games, roots, strict=True):
            visits[i] = root.visits / root.visits.sum()
        if self.place.greedy:
            return Acted(visits.argmax(-1))
        # A move is drawn in proportion to its visits.
        drawn = (self.rng.random(len(visits))[:, None] * visits.sum(-1, keepdims=True)) < np.cumsum(
            visits, -1
        )
        return Acted(drawn.argmax(-1), {"visits": visits})

    def copy(self, i):
        """A game in which the search moves for both players."""
        game = self.place.games.copy(i)
        game.unwrapped.perfect = 0
        return game

    def search(self, roots):
        config = self.algorithm.config
        greedy = self.place.greedy
        self.evaluate(roots)
        for root in () if greedy else roots:
            legal = root.mask.nonzero()[0]
            noise = self.rng.dirichlet([config.noise_concentration] * len(legal))
            root.prior[legal] += config.noise * (noise - root.prior[legal])
        for _ in range(config.greedy_simulations if greedy else config.simulations):
            paths = [self.descend(root) for root in roots]
            ends = [path[-1][0].children[path[-1][1]] for path in paths]
            values = self.evaluate(ends)
            for path, end, value in zip(paths, ends, values, strict=True):
                # What is good for who moves at the end is bad for who moved before.
                value = end.reward if end.over else -value
                for node, action in reversed(path):
                    node.visits[action] += 1
                    node.total[action] += value
                    value = -value

    def descend(self, node):
        """Moves from a root to a position that was not visited before, or in which the game is over."""
        path = []
        while True:
            action = node.best(self.algorithm.config.exploration)
            path.append((node, action))
            new = action not in node.children
            node = node.child(action)
            if new or node.over:
                return path

    def evaluate(self, nodes):
        """The network's values, for who moves; it gives the nodes their priors."""
        if not nodes:
            return []
        outputs = self.policy.part("net")(np.stack([node.observation for node in nodes]))
        for node, logits in zip(nodes, outputs["logits"], strict=True):
            if not node.over:
                node.expand(logits)
        return np.tanh(outputs["value"][:, 0]).tolist()


class AlphaZeroLearner(Learner):
    def __init__(self, config, network):
        self.config, self.network = config, network
        self.optimizer = FlatAdam(network, learning_rate=1e-3, max_gradient_norm=1.0)

    def update(self, batch, progress):
        import torch

        ends = [batch[name] for name in ("reward", "terminated", "truncated", "valid")]
        # The players take turns, so what comes one move later counts with the other sign.
        result = n_step(*ends, n=self.config.longest_game, gamma=-1.0)
        known = torch.from_numpy(batch["valid"] & (result.discount == 0)).flatten()
        data = tensors(batch, self.network.device)
        outputs = self.network(data["observation"][:-1].flatten(0, 1)[known])
        log_policy = outputs["logits"].log_softmax(-1)
        policy_loss = -(data["visits"].flatten(0, 1)[known] * log_policy).sum(-1).mean()
        target = torch.from_numpy(result.ret).flatten()[known]
        value_loss = (outputs["value"][:, 0].tanh() - target).square().mean()
        loss = policy_loss + value_loss
        norm = self.optimizer.step(loss, self.config.learning_rate.at(progress))
        metrics = {"policy_loss": policy_loss.item(), "value_loss": value_loss.item()}
        return Update(metrics | {"gradient_norm": norm})
