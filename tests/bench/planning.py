"""What `rljob plan` predicts, against runs of the same jobs, and against many rollouts in simulated time."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from pydantic.alias_generators import to_snake

from rljob.plan.costs import Costs, Work
from rljob.plan.predict import Deployment, predict
from rljob.system import usable_cores
from tests.bench.findings import findings
from tests.bench.group import Figure, Group, Values, ratio
from tests.bench.machine import Load
from tests.bench.path import rates
from tests.bench.roles import ENVIRONMENT, ROOT, roles
from tests.bench.shards import segment_cost

EXAMPLE = ROOT / "examples" / "cartpole-ppo.yaml"
SLEEPS = (1, 2, 4, 8)
"""Rollouts of the job whose environment sleeps."""
SLEEP_MILLISECONDS = 4.0
"""Before each step of all environments of a rollout: eight of them leave the cores free."""
TRAINS = (1, 2)
"""Rollouts of the example, which keeps two cores busy."""
LEAST_CORES = 0.1
SEGMENTS = 4000
"""Over which the cost of one is the mean."""
TURNS = 5
"""Means of which the median counts."""


def sleeping(seed: int) -> Values:
    """PPO with an environment that takes time and no processor."""
    environment = {
        "entryPoint": "tests.bench.sleeping:Sleeping",
        "kwargs": {"milliseconds": SLEEP_MILLISECONDS},
    }
    return compare({**_example(seed), "environment": environment}, SLEEPS, busy=False)


def cartpole(seed: int) -> Values:
    """The example, which computes all the time."""
    return compare(_example(seed), TRAINS, busy=True)


def replay(seed: int) -> Values:
    """DQN, whose learner is the bound with any number of rollouts."""
    config = {"batchSize": 128, "samplesPerInsert": 16}
    content = {**_example(seed), "algorithm": {"name": "DQN", "config": config}}
    return compare(content, TRAINS, busy=True)


def _example(seed: int) -> dict[str, Any]:
    """The example's spec, training for ever and with nobody else at work."""
    content: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())["spec"]
    return {**content, "stop": {"duration": "1h"}, "seed": seed, "evaluation": None}


def compare(spec: dict[str, Any], counts: tuple[int, ...], busy: bool) -> Values:
    """Environment steps each second with each number of rollouts, measured and predicted.

    Args:
        busy: whether the job computes all the time. The machine gets faster and slower within a minute, so the
            parts of such a job are measured on both sides of each run.

    Returns:
        `measured N` and `predicted N`, the latter for the cores that other programs and the host left to the
        run.
    """
    values: Values = {}
    cores = usable_cores()
    with TemporaryDirectory(prefix="rljob-bench-") as name:
        file = Path(name) / "job.yaml"
        file.write_text(yaml.safe_dump({"metadata": {"name": "bench"}, "spec": spec}))
        before = _costs(file)
        for count in counts:
            load = Load()
            values[f"measured {count}"] = _measured(spec, count)
            left = Deployment(max(LEAST_CORES, cores - load.others() - load.stolen()))
            after = _costs(file) if busy else before
            values[f"predicted {count}"] = statistics.geometric_mean(
                predict(costs, count, left).steps_per_second for costs in (before, after)
            )
            before = after
    return values


def _costs(file: Path) -> Costs:
    """What the command measures."""
    command = [sys.executable, "-m", "rljob", "plan", str(file), "--json"]
    done = subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True)
    measured = json.loads(done.stdout)["costs"]
    values: dict[str, Any] = {
        to_snake(name): Work(**value) if isinstance(value, dict) else value
        for name, value in measured.items()
    }
    return Costs(**values)


def _measured(spec: dict[str, Any], count: int) -> float:
    rollout = {**spec["rollout"], "replicas": count}
    content = {"metadata": {"name": "bench"}, "spec": {**spec, "rollout": rollout}}
    with roles(content) as running:
        for role in ("learner", "buffer"):
            running.start(role)
        for index in range(count):
            running.start("rollout", index)
        running.until(count, "rolloutsReady")
        return rates(running)["steps/s"]


def simulate(seed: int) -> Values:
    """What a segment costs the buffers: one of 1 rollout, one of 8, and eight of 125 each.

    Returns:
        microseconds of processor time by number of rollouts.
    """
    fleets = ((1, 1), (8, 1), (1000, 8))
    # In turn, for the machine is not as fast at one moment as at the next.
    taken = [
        [segment_cost(rollouts, buffers, SEGMENTS, seed) for rollouts, buffers in fleets]
        for _ in range(TURNS)
    ]
    return {
        f"{rollouts} us": 1e6 * statistics.median(costs)
        for (rollouts, _), costs in zip(fleets, zip(*taken, strict=True), strict=True)
    }


def _error(name: str, label: str, count: int) -> Figure:
    predicted, measured = f"predicted {count}", f"measured {count}"
    return Figure(
        f"rljob plan, error of steps/s, {label}, {count} rollout{'s' if count > 1 else ''}",
        (name,),
        lambda value: abs(value(name, predicted) / value(name, measured) - 1),
        ((name, predicted, " steps/s"), (name, measured, " steps/s")),
        0.15,
        least=False,
    )


GROUP = Group(
    "planning",
    "What `rljob plan` predicts",
    {"sleeping": sleeping, "example": cartpole, "replay": replay, "simulated": simulate},
    [
        *(_error("sleeping", "environment that sleeps", count) for count in SLEEPS),
        *(_error("example", "CartPole with PPO", count) for count in TRAINS),
        *(_error("replay", "CartPole with DQN", count) for count in TRAINS),
        *(
            ratio(
                f"Cost of a segment to the buffers: 1,000 rollouts at 8 / {small} at 1, simulated",
                ("simulated", "1000 us"),
                ("simulated", f"{small} us"),
                1.2,
                " µs",
                least=False,
            )
            for small in (8, 1)
        ),
    ],
    note=(
        "Each job is measured in its parts for five seconds by the command, and run. Of those that compute all the "
        "time, the parts are measured before and after each run, and the prediction is the mean of both, as the "
        "machine is not as fast at one moment as at the next. Processes of the "
        f"environment that sleeps do so for {SLEEP_MILLISECONDS:g} ms before each step of their 32 "
        "environments, so that two cores suffice for eight of them; the other jobs keep two cores busy. "
        "What other programs and the host used of the cores during a run is told to the prediction. In "
        "simulated time, buffers are the real ones without sockets, and take a turn for every message."
    ),
    limit=findings(
        (
            "A prediction is as good as the machine is steady",
            "the same commit trained CartPole with two rollouts at 88,000 and at 155,000 steps/s within ten minutes",
        ),
        (
            "Processor time grows when other cores compute",
            "so one of them is kept busy while parts are measured",
        ),
        (
            "Not in any cost: work of the learner between updates, such as its reports",
            "2 to 3 % of its time",
        ),
    ),
)
