"""How old the policy is that experience comes from: held within its bound, and what old experience costs.

python -m tests.bench.lag VERSIONS --seed N     train with acting weights that many versions old
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from typing import Any

from tests.bench import peer
from tests.bench.findings import findings
from tests.bench.group import Figure, Group, Lookup, Measure, Values, plain, ratio
from tests.bench.path import rates
from tests.bench.roles import job, roles

BOUND = 4
"""`buffer.maxPolicyLag` of the job with a slow learner; the default."""
SLOWER = 10
"""Times by which its learner is slower than one rollout fills its batches."""
SEGMENT_SECONDS = 0.0025
"""What a rollout needs for a segment of 64 environments by 32 steps, about."""
SOLVED, LIMIT = 475.0, 1_000_000
"""Mean return that is to be reached, and steps after which a run counts as if it had been."""
PPO: dict[str, Any] = {
    "name": "PPO",
    "config": {
        "learningRate": 5e-4,
        "rolloutLength": 32,
        "epochs": 2,
        "minibatches": 2,
        "normaliseRewards": True,
    },
}
ENVS = 16


def slow_learner(seed: int) -> Values:
    """Lag under a learner that is ten times slower than two rollouts together."""
    config = {"rolloutLength": 32, "updateSeconds": SLOWER * SEGMENT_SECONDS}
    algorithm = {"entryPoint": "tests.bench.counting:Counting", "config": config}
    content = job(algorithm, envs=64, seconds=3600, seed=seed)
    content["spec"]["rollout"]["replicas"] = 2
    content["spec"]["buffer"]["maxPolicyLag"] = BOUND
    with roles(content) as running:
        for role in ("learner", "buffer", "rollout"):
            running.start(role)
        running.start("rollout", 1)
        return rates(running)


def late(versions: int) -> Measure:
    """Steps until CartPole is solved when acting is so many versions behind the learner, always."""

    def measure(seed: int) -> Values:
        command = [sys.executable, "-m", "tests.bench.lag", str(versions), "--seed", str(seed)]
        output, _ = peer.watched(command, 300.0)
        values: Values = json.loads(output.strip().splitlines()[-1])
        return values

    return measure


def _train(lag: int, seed: int) -> Values:
    """rljob's PPO, rollout and learner in turn, the weights kept back for `lag` versions."""
    import numpy as np
    import torch

    from rljob import spec
    from rljob.algorithms import load_config, resolve_algorithm
    from rljob.algorithms.progress import Progress
    from rljob.envs.vector import Environments
    from rljob.nets import build_engine, build_module, export
    from rljob.roles.rollout.collect import Collector
    from rljob.wire.experience import ExperienceFormat

    torch.set_num_threads(1)
    parsed = spec.parse(job(PPO, envs=ENVS, seconds=1, seed=seed)).spec
    environments = Environments(parsed.environment, ENVS)
    spaces = environments.spaces
    algorithm = resolve_algorithm(parsed.algorithm)(load_config(parsed.algorithm), spaces)
    heads, acting = algorithm.heads, algorithm.acting_heads
    network = build_module(parsed.network, spaces, heads, seed)
    learner = algorithm.learner(network, seed)
    engine = build_engine(parsed.network, spaces, heads, acting)
    collector = Collector([environments], engine, algorithm, PPO["config"]["rolloutLength"])
    collector.reset((seed,))
    _, segment = ExperienceFormat.of(
        algorithm.data, algorithm.fields, parsed.spec.rollout.envs_per_replica, spaces
    ).layout.allocate()
    weights = deque([export(network, acting)] * (lag + 1), maxlen=lag + 1)
    returns: deque[float] = deque(maxlen=100)
    steps = 0
    while steps < LIMIT:
        engine.load(weights[0])
        returns.extend(collector.collect(segment, {}, lambda: None)[:, 0])
        steps += int(np.count_nonzero(segment["valid"]))
        if len(returns) == returns.maxlen and float(np.mean(returns)) >= SOLVED:
            return {"steps": float(steps), "solved": 1.0}
        learner.update(segment, Progress(steps, 0.0))
        weights.append(export(network, acting))
    return {"steps": float(LIMIT), "solved": 0.0}


def _within(value: Lookup) -> float:
    return value("slow learner", "lag p95") / BOUND


GROUP = Group(
    "lag",
    "Policy lag",
    {"slow learner": slow_learner, "lag 1": late(1), "lag 20": late(20)},
    [
        Figure(
            "Lag p95 / its bound, learner ten times slower than the rollouts",
            ("slow learner",),
            _within,
            (("slow learner", "lag p95", " versions"),),
            1.0,
            least=False,
            every=True,
        ),
        ratio(
            "Steps to 475 with experience 20 versions old / 1 version old",
            ("lag 20", "steps"),
            ("lag 1", "steps"),
            1.5,
            " steps",
            least=False,
        ),
        plain("Every seed solves at a lag of 20", ("lag 20", "solved"), 1.0, every=True),
    ],
    note=(
        "The bound is `buffer.maxPolicyLag`. Steps at a lag: PPO on CartPole-v1, a version for every 512 "
        "steps, rollout and learner in turn in one process, so that every segment is exactly so old; the "
        "correction is PPO's own, its ratio to the policy that acted. With these settings older experience "
        "needs fewer steps: an update may then move the policy away from the one that acted by as much as "
        "the clip allows, which two passes over fresh experience do not."
    ),
    limit=findings(
        (
            "A slow learner makes rollouts wait, and does not make experience old",
            "a rollout begins a segment only if it will be trained on within the bound",
        ),
    ),
)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("versions", type=int)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    print(json.dumps(_train(told.versions, told.seed)))
