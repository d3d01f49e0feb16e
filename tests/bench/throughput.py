"""Asynchronous training at the same network, batch and epochs: environment steps each second, and what
they cost in core-seconds; PPO against Sample Factory, DQN against Stable-Baselines3."""

from __future__ import annotations

from typing import Any

from tests.bench import peer
from tests.bench.findings import findings
from tests.bench.group import Figure, Group, Measure, Values, plain, ratio
from tests.bench.path import rates
from tests.bench.roles import roles
from tests.bench.stages import table

SECONDS = 20.0
"""Of a peer's run, of which its first five do not count."""


def _job(algorithm: dict[str, Any], hidden: list[int], **rollout: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "bench"},
        "spec": {
            "environment": {"id": "CartPole-v1"},
            "algorithm": algorithm,
            "network": {"name": "mlp", "config": {"hidden": hidden}},
            "stop": {"duration": "1h"},
            "rollout": rollout,
            "buffer": {"capacity": 1_000_000},
        },
    }


def _ppo(**environment: Any) -> Measure:
    """Segments of 64 environments by 32 steps, each used once in gradient steps of 512."""
    config = {"rolloutLength": 32, "epochs": 1, "minibatches": 4, "segmentsPerBatch": 1}
    job = _job({"name": "PPO", "config": config}, [64, 64], replicas=1, envsPerReplica=64)
    if environment:
        job["spec"]["environment"] = environment

    return lambda seed: _measure(job, seed)


def _dqn(hidden: list[int], replicas: int = 1) -> Measure:
    """Updates of 64, eight samples for each step."""
    config = {"batchSize": 64, "samplesPerInsert": 8, "double": False, "dueling": False}
    job = _job({"name": "DQN", "config": config}, hidden, replicas=replicas, envsPerReplica=16)
    return lambda seed: _measure(job, seed)


def _measure(content: dict[str, Any], seed: int) -> Values:
    content["spec"]["seed"] = seed
    with roles(content) as running:
        for role in ("learner", "buffer"):
            running.start(role)
        for index in range(content["spec"]["rollout"]["replicas"]):
            running.start("rollout", index)
        values = rates(running)
    return values | {"steps/core-s once warm": values["steps/s"] / values["cores"]}


def _peer(name: str, task: str) -> Measure:
    return lambda seed: peer.run(name, task, seed, SECONDS)


def _updates(name: str) -> Figure:
    against = f"sb3 {name}"
    label = f"DQN, updates of 64 / Stable-Baselines3's, {name.partition(' ')[2]}"
    return ratio(label, (name, "updates/s"), (against, "updates/s"), 3.0)


GROUP = Group(
    "throughput",
    "Throughput at the same network and batch",
    {
        "rljob scalar": _ppo(entryPoint="tests.bench.solving:single"),
        "rljob vector": _ppo(),
        "sample factory": _peer("sample_factory", "matched"),
        "dqn 64x64": _dqn([64, 64]),
        "dqn 64x64, two rollouts": _dqn([64, 64], replicas=2),
        "dqn 256x256": _dqn([256, 256]),
        "sb3 dqn 64x64": _peer("sb3", "dqn-64"),
        "sb3 dqn 256x256": _peer("sb3", "dqn-256"),
    },
    [
        ratio(
            "Steps/s / Sample Factory's, both stepped in Python",
            ("rljob scalar", "steps/s"),
            ("sample factory", "steps/s"),
            4.0,
            " steps/s",
        ),
        ratio(
            "Steps per core-second / Sample Factory's, both stepped in Python",
            ("rljob scalar", "steps/core-s once warm"),
            ("sample factory", "steps/core-s once warm"),
            3.0,
        ),
        plain("Steps/s, rljob in the vector form", ("rljob vector", "steps/s"), unit=" steps/s"),
        plain(
            "Steps per core-second, rljob in the vector form",
            ("rljob vector", "steps/core-s once warm"),
        ),
        _updates("dqn 64x64"),
        _updates("dqn 256x256"),
        ratio(
            "DQN, updates with two rollouts / with one",
            ("dqn 64x64, two rollouts", "updates/s"),
            ("dqn 64x64", "updates/s"),
            0.9,
        ),
        plain("DQN 256x256, updates", ("dqn 256x256", "updates/s"), unit=" /s"),
    ],
    note=(
        "PPO: two hidden layers of 64, gradient steps of 512 rows, one epoch, 32 steps from each "
        "environment, no limit to how far rollouts and learner may overlap but each one's own. Sample "
        "Factory has its APPO with 32 environments, ours 64. DQN: batches of 64; Stable-Baselines3 with "
        "the zoo's settings (one update for two steps), ours with eight samples for each step; neither has "
        "a second network to choose actions, nor a second stream of values."
    ),
    stages=lambda results: table(
        results,
        {
            f"{stage} us/update": f"learner's {stage.replace('_', ' ')}, µs an update"
            for stage in ("update", "data_wait", "publish")
        },
    ),
    limit=findings(
        (
            "PPO, environment in Python: a rollout's step",
            "8 to 11 µs, 6 to 8 µs of them in the environment",
        ),
        (
            "PPO, vectorised: the learner is the bound",
            "4 µs for a step",
        ),
        (
            "DQN, 64x64: an update of 64 rows is little arithmetic",
            "30 µs",
        ),
        (
            "DQN, 64x64, as about 70 operations of PyTorch",
            "530 µs; each operation takes 5 to 10 µs to begin",
        ),
        (
            "DQN, 64x64, in numpy on the memory of the same weights",
            "97 µs; 180 to 270 µs beside a buffer and a rollout that use the same caches and cores",
        ),
        (
            "DQN, 256x256: an update is arithmetic",
            "0.42 ms are four products of 64x256x256, at the 75 to 93 billion operations/s that BLAS reaches on one of these cores, for Stable-Baselines3 as for ours",
        ),
        (
            "DQN, 256x256: the rest of the update",
            "0.07 ms Adam; 0.1 ms activations, biases, small layers and the loss; another 0.1 to 0.2 ms, inferred: weights, target, gradient and moments are 1.3 MB, more than the 1 MB of a core's own cache",
        ),
        (
            "DQN, 256x256: distance to the aim",
            "three times Stable-Baselines3's rate would leave 0.66 to 0.76 ms for an update with all that is around it; ours takes 0.84 to 0.96 ms",
        ),
        (
            "Tried: activations laid out by columns",
            "BLAS multiplies these matrices a tenth faster, and those of PPO a tenth slower",
        ),
    ),
)
