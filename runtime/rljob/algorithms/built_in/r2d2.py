"""Recurrent replay distributed DQN (R2D2; Kapturowski et al. 2019, https://openreview.net/forum?id=r1lyTjAqYX).

Q-learning on sequences from replay, for networks with memory. The memory before each sequence is stored with it. The
learner follows a few rows only to warm the memory up (burn-in), and trains on the rest: double estimates, a target
network, n-step returns or Retrace (Munos et al. 2016), values on a compressed scale, dueling heads. Each environment of
the job explores with an epsilon of its own (Horgan et al. 2018, https://arxiv.org/abs/1803.00933). The priority of a
sequence is a mixture of the largest and the mean error of its rows; rollouts compute it for what they store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field as Bounds
from pydantic import model_validator

from rljob.algorithms.base import (
    Acted,
    ActionScores,
    Actor,
    AlgorithmConfig,
    Arrays,
    Count,
    EpsilonSpread,
    Field,
    Head,
    Learner,
    Net,
    Place,
    Policy,
    Positive,
    Progress,
    Rate,
    Replay,
    Schedule,
    Seen,
    Share,
    Update,
)
from rljob.algorithms.epsilon_greedy import chances, epsilon_greedy, epsilons
from rljob.algorithms.importance import importance_weights
from rljob.algorithms.masking import forbid, hide
from rljob.algorithms.n_step import n_step
from rljob.algorithms.retrace import retrace
from rljob.algorithms.sequence_priorities import mixed, starting_priorities
from rljob.algorithms.value_based import ValueBasedConfig, discrete_actions
from rljob.algorithms.value_rescaling import compressed, expanded
from rljob.envs.spaces import Spaces
from rljob.spec.schema import AS_INTEGER

if TYPE_CHECKING:
    from torch import Tensor

    from rljob.nets.torch_nets import Network


class R2D2Config(ValueBasedConfig):
    """Settings of R2D2 (`algorithm.config`)."""

    learning_rate: Schedule[Rate] = Schedule(1e-3)
    """Step size of Adam."""
    n_step: Count = 5
    """Environment steps of reward before the target network's estimate; without retraceLambda."""
    double: bool = True
    """Double Q-learning: the learning network chooses the action, the target network values it."""
    dueling: bool = True
    """Separate heads for the state's value and the actions' advantages."""
    retrace_lambda: Share | None = None
    """Retrace with this lambda instead of n-step returns: later rewards count as far as the actions before them are
    likely under the policy that is valued, and likelier than when they were taken."""
    retrace_epsilon: Share = 0.01
    """Share of random actions of the policy that is valued; for retraceLambda."""
    rescale_values: bool = True
    """Learn values on a scale that compresses large ones."""
    burn_in: Annotated[int, Bounds(ge=0, le=1_000_000), AS_INTEGER] = 8
    """Environment steps of a sequence that only warm the memory up."""
    length: Count = 16
    """Environment steps of a sequence that are trained on, behind burnIn."""
    period: Count = 8
    """Environment steps between the starts of two sequences; it divides rolloutLength."""
    batch_size: Count = 32
    """Sequences in one update."""
    min_size: Count = 2000
    """Transitions stored before the first update."""
    samples_per_insert: Positive = 20.0
    """Transitions drawn for each stored transition, burnIn included."""
    updates_per_publish: Count = 4
    """Updates between two policy versions."""
    target_update_interval: Count = 1
    """Updates between two updates of the target network."""
    tau: Schedule[Rate] = Schedule(0.01)
    """Share of the learning network that is mixed into the target network; 1 copies."""
    epsilon: Schedule[Share] = Schedule(0.4)
    """Share of random actions."""
    epsilon_spread: EpsilonSpread = 7.0
    """Each environment has its own epsilon: from epsilon in the job's first to epsilon ** (1 + epsilonSpread) in its last."""
    replay: Literal["uniform", "prioritised", "rank", "linearRank"] = "prioritised"
    """How sequences are sampled; all but uniform is prioritised replay."""
    priority_eta: Share = 0.9
    """A sequence's priority: this share of its largest error, the rest of the mean error; for prioritised replay."""

    @model_validator(mode="after")
    def _steps_fit_a_segment(self) -> Self:
        if self.n_step > self.length:
            raise ValueError(
                f"nStep ({self.n_step}) must not be above length ({self.length}): returns end with their sequence"
            )
        if self.rollout_length % self.period:
            raise ValueError(
                f"period ({self.period}) must divide rolloutLength ({self.rollout_length})"
            )
        return self

    def data(self) -> Replay:
        """How experience is used."""
        return replace(super().data(), length=self.burn_in + self.length, period=self.period)


class R2D2:
    """See the module; settings in `R2D2Config`."""

    Config: ClassVar[type[AlgorithmConfig]] = R2D2Config

    def __init__(self, config: R2D2Config, spaces: Spaces) -> None:
        self.config, self.data = config, config.data()
        heads = {"advantage": Head(discrete_actions("R2D2", spaces), trunk="q", per_action=True)}
        if config.dueling:
            heads["value"] = Head(1, trunk="q")
        self.networks: Mapping[str, Net] = {
            "q": Net(heads, acts=tuple(heads), memory=True, own_rate=True)
        }
        self.fields: tuple[Field, ...] = ()
        if config.prioritised:
            self.fields += (Field("priority", "float32"),)
        if config.retrace_lambda is not None:
            self.fields += (Field("log_prob", "float32"),)

    def actor(self, policy: Policy, place: Place) -> R2D2Actor:
        return R2D2Actor(self, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> R2D2Learner:
        return R2D2Learner(self.config, networks["q"])


class R2D2Actor(Actor):
    """The acting half of R2D2."""

    kind: ClassVar[str] = "advantage"

    def __init__(self, algorithm: R2D2, policy: Policy, place: Place) -> None:
        super().__init__(algorithm, policy, place)
        self._config = algorithm.config

    def act(self, seen: Seen) -> Acted:
        value = _values(self.policy(seen))
        if self.place.greedy:
            best = forbid(value, seen.mask).argmax(axis=-1)
            return Acted(best, scores=ActionScores("value", hide(value, seen.mask)))
        epsilon = epsilons(self.policy.arrays["epsilon"], self.place, self._config.epsilon_spread)
        action = epsilon_greedy(value, epsilon, self.rng, seen.mask)
        rows = np.arange(len(action))
        kept, extras = {}, {}
        if self._config.prioritised:
            best = forbid(value, seen.mask).max(axis=-1)
            kept = {"taken": value[rows, action], "best": best}
        if self._config.retrace_lambda is not None:
            extras["log_prob"] = np.log(chances(value, epsilon, seen.mask)[rows, action])
        return Acted(action, extras, kept=kept)

    def finish(self, segment: Arrays) -> None:
        """Priorities by the values with which it acted; those behind the segment are not known yet."""
        config = self._config
        if not config.prioritised:
            return
        taken, best = segment["taken"], segment["best"]
        ends = (segment[name] for name in ("reward", "terminated", "truncated", "valid"))
        back = n_step(*ends, n=config.n_step, gamma=config.gamma)
        # What the last observation is worth is known in the next segment.
        ahead = np.concatenate([_expanded(best, config), np.zeros_like(best[:1])])
        known = segment["valid"] & ((back.next_row < len(best)) | (back.discount == 0))
        target = back.ret + back.discount * np.take_along_axis(ahead, back.next_row, axis=0)
        segment["priority"][:] = starting_priorities(
            np.abs(_compressed(target, config) - taken),
            known,
            burn_in=config.burn_in,
            length=config.length,
            period=config.period,
            eta=config.priority_eta,
        )


class R2D2Learner(Learner):
    """The learning half of R2D2; draws no random numbers."""

    def __init__(self, config: R2D2Config, network: Network) -> None:
        from rljob.nets.torch_optimizer import FlatAdam
        from rljob.nets.torch_target import Target

        self._config, self._network, self._target = config, network, Target(network)
        self._rate = network.rate(config.learning_rate)
        self._optimizer = FlatAdam(
            network,
            learning_rate=self._rate.start,
            max_gradient_norm=config.max_gradient_norm,
        )

    def update(self, batch: Arrays, progress: Progress) -> Update:
        import torch

        from rljob.nets.torch_batch import begins, tensors

        config, burn_in = self._config, self._config.burn_in
        rows = {name: batch[name][burn_in:] for name in batch if batch[name].ndim > 1}
        valid = rows["valid"]
        data = tensors(batch, self._network.device)
        seen, starts, core = data["observation"], begins(data["valid"]), data.get("core")
        with torch.no_grad():
            ahead = self._along(self._target.network, seen, starts, core)
            if burn_in:
                _, core = self._network.unroll(seen[:burn_in], starts[:burn_in], core)
        outputs, _ = self._network.unroll(seen[burn_in:], starts[burn_in:], core)
        value = _dueling(outputs)
        target = self._targets(value.detach().cpu().numpy(), ahead, rows)

        taken = value[:-1].gather(-1, data["action"][burn_in:, :, None].long()).squeeze(-1)
        used = data["valid"][burn_in:]
        error = (taken - torch.from_numpy(target).to(taken.device)) * used
        squares = error.square()
        if config.prioritised:
            weight = importance_weights(batch, config.importance_exponent.at(progress))
            squares = squares * torch.from_numpy(weight).to(taken.device)
        loss = squares.sum() / max(1, int(valid.sum()))
        rate = self._rate.at(progress)
        norm = self._optimizer.step(loss, rate)
        if (progress.updates + 1) % config.target_update_interval == 0:
            self._target.follow(config.tau.at(progress))
        metrics = {
            "loss": loss.item(),
            "mean_q": float(_expanded(value.detach().cpu().numpy(), config).mean()),
            "gradient_norm": norm,
            "learning_rate": rate,
        }
        if not config.prioritised:
            return Update(metrics)
        size = error.detach().abs().cpu().numpy()
        return Update(metrics, mixed(size, valid, config.priority_eta))

    def _along(
        self, network: Network, seen: Tensor, starts: Tensor, core: Tensor | None
    ) -> np.ndarray:
        """Values of all actions behind the burn-in, in units of reward: `[L + 1, B, K]`."""
        outputs, _ = network.unroll(seen, starts, core)
        return _expanded(_dueling(outputs)[self._config.burn_in :].cpu().numpy(), self._config)

    def _targets(self, value: np.ndarray, ahead: np.ndarray, rows: Arrays) -> np.ndarray:
        """What the values of the actions should be, float32 `[L, B]`.

        Args:
            value: by the learning network, `[L + 1, B, K]`.
            ahead: by the target network, likewise, in units of reward.
            rows: of the batch, behind the burn-in.
        """
        config, mask = self._config, rows.get("mask")
        judge = value if config.double else ahead
        ends = [rows[name] for name in ("terminated", "truncated", "valid")]
        if config.retrace_lambda is None:
            best = forbid(judge, mask).argmax(axis=-1)[..., None]
            greedy = np.take_along_axis(ahead, best, axis=-1)[..., 0]
            back = n_step(rows["reward"], *ends, n=config.n_step, gamma=config.gamma)
            following = np.take_along_axis(greedy, back.next_row, axis=0)
            return _compressed(back.ret + back.discount * following, config)
        chance = chances(judge, config.retrace_epsilon, mask)
        action = rows["action"][..., None]
        of_action = np.take_along_axis(chance[:-1], action, axis=-1)[..., 0]
        ratio = of_action / np.exp(rows["log_prob"])
        target = retrace(
            np.float32(config.retrace_lambda) * np.minimum(ratio, 1),
            rows["reward"],
            np.take_along_axis(ahead[:-1], action, axis=-1)[..., 0],
            (chance * ahead).sum(axis=-1)[1:],
            *ends,
            gamma=config.gamma,
        )
        return _compressed(target, config)

    def publish(self, progress: Progress) -> dict[str, Any]:
        return {"epsilon": self._config.epsilon.at(progress)}


def _values(outputs: Arrays) -> np.ndarray:
    """Of all actions, `[N, K]`, for acting; see `_dueling`."""
    advantage = outputs["advantage"]
    if "value" not in outputs:
        return advantage
    value: np.ndarray = advantage - advantage.mean(axis=-1, keepdims=True) + outputs["value"]
    return value


def _dueling(outputs: Mapping[str, Tensor]) -> Tensor:
    """Values of all actions, `[..., K]`: the state's value and the advantages, whose mean is taken to be 0."""
    advantage = outputs["advantage"]
    if "value" not in outputs:
        return advantage
    return advantage - advantage.mean(-1, keepdim=True) + outputs["value"]


def _compressed(value: np.ndarray, config: R2D2Config) -> np.ndarray:
    """From units of reward to the scale of the network, float32."""
    return (compressed(value) if config.rescale_values else value).astype(np.float32)


def _expanded(value: np.ndarray, config: R2D2Config) -> np.ndarray:
    """From the scale of the network to units of reward."""
    return expanded(value) if config.rescale_values else value
