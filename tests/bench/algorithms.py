"""Each algorithm that Stable-Baselines3 or sb3-contrib has as well: steps and updates a second at matched settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.bench import matched, ours, peer
from tests.bench.group import Figure, Group, Measure, Values, ratio
from tests.bench.path import rates
from tests.bench.roles import roles
from tests.bench.stages import table

SECONDS = 10.0
"""That a measurement takes once warm."""
WARM = 5.0
"""Of a peer's run, before it counts; see `tests.bench.peers.watch`."""
CARTPOLE, PENDULUM = "CartPole-v1", "Pendulum-v1"
Task = tuple[str, str, dict[str, Any]]
TASKS: dict[str, Task] = {
    "PPO": ("cartpole-ppo.yaml", CARTPOLE, {}),
    "DQN": (
        "cartpole-dqn.yaml",
        CARTPOLE,
        {"learningRate": 2e-3, "double": False, "dueling": False, "epsilon": 0.05},
    ),
    "SAC": ("pendulum-sac.yaml", PENDULUM, {}),
    "A2C": ("cartpole-a2c.yaml", CARTPOLE, {}),
    "TRPO": ("cartpole-trpo.yaml", CARTPOLE, {}),
    "QRDQN": ("cartpole-qr-dqn.yaml", CARTPOLE, {"learningRate": 1e-3, "epsilon": 0.05}),
    "TD3": ("pendulum-td3.yaml", PENDULUM, {}),
    "DDPG": ("pendulum-ddpg.yaml", PENDULUM, {"learningRate": 1e-3}),
}
"""The example of each algorithm, its environment, and settings that differ from it so that the peer can have the same."""
PER_CORE = "steps/core-s once warm"
QUICK = ("PPO", "DQN", "SAC")
"""Those that `make bench` takes, too."""
CONTRIB = ("QRDQN", "TRPO")


def content(name: str) -> dict[str, Any]:
    """The job that is measured: one of TASKS, without end or evaluation, stepped in Python."""
    example, task, changed = TASKS[name]
    scalar = {"entryPoint": "tests.bench.solving:single"} if task == CARTPOLE else {"id": task}
    made = ours.example(example, **scalar)
    made["spec"] |= {
        "stop": {"duration": "1h"},
        "evaluation": None,
        "buffer": {"capacity": 100_000},
    }
    made["spec"]["algorithm"]["config"] = made["spec"]["algorithm"].get("config", {}) | changed
    return made


def _ours(name: str) -> Measure:
    def measure(seed: int) -> Values:
        job = content(name)
        job["spec"]["seed"] = seed
        with roles(job) as running:
            for role in ("learner", "buffer"):
                running.start(role)
            for index in range(job["spec"]["rollout"]["replicas"]):
                running.start("rollout", index)
            values = rates(running, SECONDS)
        return values | {PER_CORE: values["steps/s"] / values["cores"]}

    return measure


def _theirs(name: str) -> Measure:
    settings = matched.rated(content(name), TASKS[name][1])
    return lambda seed: peer.run("sb3", "rates", seed, WARM + SECONDS, settings=settings)


def _measurements() -> Iterator[tuple[str, Measure]]:
    for name in TASKS:
        yield name, _ours(name)
        yield f"sb3 {name}", _theirs(name)


def _figures(name: str) -> list[Figure]:
    whose = "sb3-contrib" if name in CONTRIB else "Stable-Baselines3"
    peer_name = f"sb3 {name}"
    return [
        *(
            ratio(f"{name}, {rate} / {whose}'s", (name, rate), (peer_name, rate), 1.0, f" {rate}")
            for rate in ("steps/s", "updates/s")
        ),
        ratio(
            f"{name}, steps per core-second / {whose}'s", (name, PER_CORE), (peer_name, PER_CORE)
        ),
    ]


MEASUREMENTS = dict(_measurements())
GROUP = Group(
    "algorithms",
    "Each algorithm beside Stable-Baselines3 and sb3-contrib",
    MEASUREMENTS,
    [figure for name in TASKS for figure in _figures(name)],
    slow=frozenset(each for each in MEASUREMENTS if each.split()[-1] not in QUICK),
    stages=lambda results: table(
        results,
        {
            f"{stage} us/update": f"learner's {stage.replace('_', ' ')}, µs an update"
            for stage in ("update", "data_wait", "publish")
        },
    ),
    note=(
        "Each has the settings of its example, also those of the network, and both step the same environments in Python, "
        "as many for each update. Replay has as many updates for each step. An update is one batch of transitions; for PPO, "
        "A2C and TRPO it is all that is learned from one batch of segments. What the peer does not have is left out: "
        "double estimates and dueling heads of DQN, falling learning rates; rollouts explore with a constant 5 %. rljob has "
        "a learner, a buffer and one or two rollouts as processes, Stable-Baselines3 one process with one thread of PyTorch."
    ),
)
