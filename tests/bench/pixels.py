"""Pong from pixels: rollouts against their environment, updates against a bare loop, acting by itself.

python -m tests.bench.pixels environment|act|ppo|dqn SEED [THREADS|PRECISION]
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import numpy as np

from tests.bench.findings import findings
from tests.bench.group import Group, Measure, Results, Values, plain, ratio
from tests.bench.path import WARM
from tests.bench.roles import ENVIRONMENT, Roles, roles

ENVS, LENGTH = 32, 32
SECONDS = 6.0
ROUNDS = 5
"""Updates of each kind, taken in turn."""
CNN = {"name": "cnn"}
IMAGE = (4, 84, 84)
PRECISIONS = ("float32", "bfloat16")


def _alone(*arguments: object) -> Values:
    """A measurement of this module in a process of its own, whose libraries use one thread."""
    command = [sys.executable, "-m", "tests.bench.pixels", *map(str, arguments)]
    done = subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True)
    values: Values = json.loads(done.stdout.splitlines()[-1])
    return values


def environment_rate(threads: int) -> Measure:
    """Steps that ale-py makes with random actions when nobody looks at them."""
    return lambda seed: _alone("environment", seed, threads)


def rollout(precision: str) -> Measure:
    """Rollout, buffer and a learner that counts; the rollout acts with NatureCNN."""
    return lambda seed: _rollout(seed, precision)


def _rollout(seed: int, precision: str) -> Values:
    algorithm = {"entryPoint": "tests.bench.counting:Counting", "config": {"rolloutLength": LENGTH}}
    content = {
        "metadata": {"name": "bench"},
        "spec": {
            "environment": {"id": "ALE/Pong-v5"},
            "algorithm": algorithm,
            "network": CNN,
            "stop": {"duration": "1h"},
            "seed": seed,
            "rollout": {"replicas": 1, "envsPerReplica": ENVS, "precision": precision},
        },
    }
    with roles(content) as running:
        for role in ("learner", "buffer", "rollout"):
            running.start(role)
        running.until(WARM)
        first, cpu, spent = _arrival(running), running.cpu(), running.stages("rollout")
        running.until(first["seconds"] + 2 * SECONDS)
        last, used, after = _arrival(running), running.cpu(), running.stages("rollout")
    steps = last["steps"] - first["steps"]
    return {
        "steps/s": steps / (last["time"] - first["time"]),
        **{f"{name} CPU us": 1e6 * (used[name] - cpu[name]) / steps for name in cpu},
        **{f"{name} us": 1e6 * (after[name] - spent[name]) / steps for name in after},
    }


def _arrival(running: Roles) -> dict[str, Any]:
    """The next record with steps that the one before it did not have: segments come in one piece."""
    before = running.records()[-1]["steps"]
    running.until(before + 1, "steps")
    return next(record for record in running.records() if record["steps"] > before)


def act(seed: int) -> Values:
    """Milliseconds of one decision for `ENVS` environments, in numpy and in torch."""
    return _alone("act", seed)


def updates(algorithm: str, precision: str) -> Measure:
    """Gradient steps of 256 each second: our learner's and the bare loop's, in turn."""
    return lambda seed: _alone(algorithm, seed, precision)


def _environment(seed: int, threads: int) -> Values:
    import gymnasium

    from rljob.envs.vector import Environments
    from rljob.spec import EnvironmentSpec

    Environments(EnvironmentSpec(id="ALE/Pong-v5"), 1).close()  # Registers the ids.
    env = gymnasium.make_vec(
        "ALE/Pong-v5", ENVS, vectorization_mode="vector_entry_point", num_threads=threads
    )
    env.reset(seed=seed)
    actions = np.random.default_rng(seed).integers(6, size=(1024, ENVS))
    began, cpu, steps = time.monotonic(), time.process_time(), 0
    counted = False
    while (now := time.monotonic()) - began < WARM + SECONDS:
        if not counted and now - began >= WARM:
            counted, first, cpu, steps = True, now, time.process_time(), 0
        env.step(actions[steps % 1024])
        steps += 1
    seconds = time.monotonic() - first
    return {
        "steps/s": steps * ENVS / seconds,
        "cores": (time.process_time() - cpu) / seconds,
    }


def _spaces() -> Any:
    from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces

    return Spaces(BoxSpace(IMAGE, np.dtype(np.uint8), 0, 255), DiscreteSpace(6))


def _act(seed: int) -> Values:
    from rljob import nets
    from rljob.algorithms.base import Head, Net
    from rljob.nets.acting import ActingNetworks
    from rljob.nets.torch_engine import TorchEngine
    from rljob.spec.sections import NetworkSpec

    spec, spaces = NetworkSpec.model_validate(CNN), _spaces()
    net = {"policy": Net({"logits": Head(6), "value": Head(1)}, acts=("logits",))}
    alone = {"policy": Net({"logits": Head(6)}, acts=("logits",))}
    module: Any = nets.build_networks(spec, alone, spaces, seed)["policy"]
    acting = {
        "numpy": nets.build_acting(spec, net, spaces),
        "torch float32": ActingNetworks({"policy": TorchEngine(module, ("logits",))}),
        "torch bfloat16": nets.build_acting(spec, net, spaces, "bfloat16"),
    }
    weights = nets.export(nets.build_networks(spec, net, spaces, seed), net)
    for networks in acting.values():
        networks.load(weights)
    engines: dict[str, Any] = {name: each.engines["policy"] for name, each in acting.items()}
    images = np.random.default_rng(seed).integers(0, 256, (ENVS, *IMAGE), np.uint8)
    return _in_turn({f"{name} ms": lambda e=e: e(images) for name, e in engines.items()}, rounds=40)


def _in_turn(calls: dict[str, Any], rounds: int = ROUNDS) -> Values:
    """Median milliseconds of each call, the first of each aside."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            spent[name].append(1e3 * (time.perf_counter() - began))
    return {name: float(np.median(each[1:])) for name, each in spent.items()}


def _learner(name: str, config: dict[str, Any], seed: int, precision: str) -> Any:
    from rljob import nets
    from rljob.algorithms import load_config, resolve_algorithm
    from rljob.spec.sections import AlgorithmSpec, NetworkSpec

    spec = AlgorithmSpec(name=name, config=config)
    made = resolve_algorithm(spec)(load_config(spec), _spaces())
    network = NetworkSpec.model_validate(CNN)
    return made.learner(
        nets.build_networks(network, made.networks, _spaces(), seed, precision), seed
    )


def _ppo(seed: int, precision: str) -> Values:
    from rljob.algorithms.base import Progress
    from tests.bench.barecnn import BarePPO

    steps, envs, parts = 128, 8, 4
    rng, shape = np.random.default_rng(seed), (steps, envs)
    batch = {
        "observation": rng.integers(0, 256, (steps + 1, envs, *IMAGE), np.uint8),
        "action": rng.integers(6, size=shape),
        "reward": rng.standard_normal(shape, np.float32),
        "terminated": rng.random(shape) < 0.01,
        "truncated": np.zeros(shape, np.bool_),
        "valid": np.ones(shape, np.bool_),
        "log_prob": np.full(shape, -np.log(6), np.float32),
    }
    config = {"epochs": 1, "minibatches": parts, "entropyCoefficient": 0.01}
    ours = _learner("PPO", config, seed, precision)
    bare = BarePPO(precision == "bfloat16", parts)
    start = Progress(0, 0.0)
    return _rates(lambda: ours.update(batch, start), lambda: bare.update(batch), parts)


def _dqn(seed: int, precision: str) -> Values:
    from rljob.algorithms.base import Progress
    from tests.bench.barecnn import BareDQN

    rng, rows = np.random.default_rng(seed), 256
    batch = {
        "observation": rng.integers(0, 256, (rows, *IMAGE), np.uint8),
        "next_observation": rng.integers(0, 256, (rows, *IMAGE), np.uint8),
        "action": rng.integers(6, size=rows),
        "reward": rng.standard_normal(rows, np.float32),
        "n_step_return": rng.standard_normal(rows, np.float32),
        "n_step_discount": np.full(rows, 0.99, np.float32),
    }
    ours = _learner("DQN", {"double": False, "dueling": False}, seed, precision)
    bare = BareDQN(precision == "bfloat16")
    start = Progress(0, 0.0)
    return _rates(lambda: ours.update(batch, start), lambda: bare.update(batch), 1)


def _rates(ours: Any, bare: Any, parts: int) -> Values:
    spent = _in_turn({"ours": ours, "bare": bare})
    return {f"{name}/s": 1e3 * parts / milliseconds for name, milliseconds in spent.items()}


def _stages(results: Results) -> str:
    spent = [results[f"rollout {precision}"][-1]["values"] for precision in PRECISIONS]
    rows = "\n".join(
        f"| {name.removesuffix(' us')} | {' | '.join(f'{each[name]:.0f}' for each in spent)} |"
        for name in sorted(spent[0], key=lambda name: -spent[0][name])
        if name.endswith(" us")
    )
    head = f"| µs for each step of Pong | {' | '.join(PRECISIONS)} |\n| --- | --- | --- |"
    return f"{head}\n{rows}"


GROUP = Group(
    "pixels",
    "Pong from pixels",
    {
        "environment": environment_rate(1),
        "environment, 2 threads": environment_rate(2),
        **{f"rollout {precision}": rollout(precision) for precision in PRECISIONS},
        "act": act,
        **{
            f"{name} {precision}": updates(name, precision)
            for name in ("ppo", "dqn")
            for precision in PRECISIONS
        },
    },
    [
        *(
            ratio(
                f"Rollout of NatureCNN in {precision} / its environment alone, one thread steps",
                (f"rollout {precision}", "steps/s"),
                ("environment", "steps/s"),
                0.9,
                " steps/s",
            )
            for precision in PRECISIONS
        ),
        plain("Environment alone, two threads", ("environment, 2 threads", "steps/s"), unit="/s"),
        *(
            ratio(
                f"Acting for {ENVS}: numpy's time / torch's in {precision}, one thread",
                ("act", "numpy ms"),
                ("act", f"torch {precision} ms"),
                unit=" ms",
            )
            for precision in PRECISIONS
        ),
        *(
            ratio(
                f"{name.upper()}, updates of 256 / a bare loop's, {precision}",
                (f"{name} {precision}", "ours/s"),
                (f"{name} {precision}", "bare/s"),
                0.9,
                "/s",
            )
            for name in ("ppo", "dqn")
            for precision in PRECISIONS
        ),
    ],
    note=(
        "Pong is `ALE/Pong-v5` with ale-py's defaults, 32 environments. A rollout steps one half of them in "
        "ale-py's thread while it acts for the other, so it uses a second core; the environment alone has as "
        "many threads as step at a time in the rollout."
    ),
    stages=_stages,
    limit=findings(
        (
            "CPU of a rollout for a step, median of the seeds (the table above is the last seed)",
            "0.83 ms in float32, 0.74 ms in bfloat16; about half is Pong's own, the rest is acting and copying frames of 28 KB into the segment and out of it",
        ),
        (
            "CPU of buffer and learner for a step",
            "0.04 ms",
        ),
        (
            "The aim in float32 was out of reach on two cores in these runs",
            "two cores that are never idle would make 0.89 (float32) and 0.99 (bfloat16) of what the environment makes on one",
        ),
        (
            "Idle cores, of two",
            "0.36 (float32) and 0.47 (bfloat16)",
        ),
        (
            "Cause of the idle time",
            "inferred: the rollout and both halves' threads are three on two cores; halves that step at once end late and together, and then no half steps while the rollout acts",
        ),
        (
            "Waiting for a core",
            "in runs of 0.42 to 0.52 ms for a step in bfloat16, each of the three could have run for 0.06 to 0.09 ms and had no core",
        ),
        (
            "Tried: one half steps while the other is acted for, never both",
            "0.22 and 0.40 idle; but an environment slower than acting would lose up to half of its rate on more cores",
        ),
        (
            "Tried: quarters instead of halves",
            "less is idle, but acting on 8 images at once takes more for each",
        ),
        (
            "Tried: threads of the environment with less priority, threads pinned to cores, 64 and 128 environments",
            "no difference from noise",
        ),
    ),
)


if __name__ == "__main__":
    what, number = sys.argv[1], int(sys.argv[2])
    if what == "environment":
        print(json.dumps(_environment(number, int(sys.argv[3]))))
    elif what == "act":
        print(json.dumps(_act(number)))
    else:
        print(json.dumps({"ppo": _ppo, "dqn": _dqn}[what](number, sys.argv[3])))
