"""What others publish for the tasks of the examples: figures to hold the kept runs against."""

from __future__ import annotations

from dataclasses import dataclass

ZOO = "https://github.com/DLR-RM/rl-baselines3-zoo/blob/master/benchmark.md"
CLEANRL = "https://docs.cleanrl.dev/rl-algorithms/c51/#experiment-results"
SRL = "https://github.com/pocokhc/simple_distributed_rl/blob/main/srl/envs/grid.py"


@dataclass(frozen=True)
class ReferenceReturn:
    """A return to compare with.

    Attributes:
        value: the return.
        name: who has it, in a few words.
        url: where it is published; empty where it follows from the task itself.
        note: what else has to be known, for example after how many steps.
    """

    value: float
    name: str
    url: str = ""
    note: str = ""


def _zoo(value: float, steps: str, task: str = "") -> ReferenceReturn:
    note = f"one run of {steps} steps"
    return ReferenceReturn(value, "rl-baselines3-zoo", ZOO, f"{note}, {task}" if task else note)


_MOST = ReferenceReturn(500.0, "the most", note="the longest episode")
_GRID = ReferenceReturn(0.65, "SRL", SRL, "what its own tests ask for; the best policy gets 0.745")

RETURNS: dict[str, ReferenceReturn] = {
    "acrobot-ppo": _zoo(-73.5, "1,000,000"),
    "cartpole-a2c": _zoo(500.0, "500,000"),
    "cartpole-appo": _MOST,
    "cartpole-c51": ReferenceReturn(498.51, "CleanRL", CLEANRL, "500,000 steps"),
    "cartpole-dqn": _zoo(500.0, "50,000"),
    "cartpole-impala": _MOST,
    "cartpole-iqn": _MOST,
    "cartpole-no-velocities-ppo": _zoo(500.0, "100,000", "PPO with an LSTM"),
    "cartpole-no-velocities-r2d2": _zoo(500.0, "100,000", "PPO with an LSTM"),
    "cartpole-ppo": _zoo(500.0, "100,000"),
    "cartpole-q-learning": _MOST,
    "cartpole-qr-dqn": _zoo(500.0, "50,000"),
    "cartpole-rainbow": _MOST,
    "cartpole-reinforce": _MOST,
    "cartpole-sac": _MOST,
    "cartpole-trpo": _zoo(500.0, "100,000"),
    "grid-dyna-q": _GRID,
    "grid-ql-agent57": _GRID,
    "grid-search-dyna-q": _GRID,
    "grid-vanilla-policy": _GRID,
    "grid-vanilla-policy-box": _GRID,
    "lunarlander-ppo": _zoo(242.1, "1,000,000", "LunarLander-v2"),
    "lunarlander-sac": _zoo(260.4, "500,000", "LunarLanderContinuous-v2"),
    "pendulum-ddpg": _zoo(-152.1, "20,000"),
    "pendulum-ppo": _zoo(-172.2, "100,000"),
    "pendulum-sac": _zoo(-157.0, "20,000"),
    "pendulum-td3": _zoo(-151.9, "20,000"),
    "pendulum-trpo": _zoo(-174.6, "100,000", "with state-dependent noise"),
    "pong-dqn": _zoo(20.6, "10,000,000"),
    "pong-ppo": _zoo(21.0, "10,000,000"),
    "taxi-q-learning": ReferenceReturn(7.93, "the best policy", note="by value iteration"),
}
"""By the name of the example."""
