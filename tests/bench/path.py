"""The way of the experience: rollout, buffer and learner as processes, the learner counts or trains."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.bench.findings import findings
from tests.bench.group import Group, Measure, Results, Values, plain, ratio
from tests.bench.roles import ENVIRONMENT, Roles, job, roles
from tests.bench.stages import table

LENGTH = 32
"""Steps in a segment of each environment."""
WARM = 1.0
SECONDS = 4.0
"""Training before measuring, and while measuring."""
TURN, TURNS = 0.5, 8
"""Seconds that each has before the next, and how often. Who waits for three others waits for less than the three
seconds after which a rollout takes a silent buffer for lost."""
STAGES = ("environment", "acting", "shipping", "credit_wait", "weights_wait")
REST = "rest"
"""What a rollout does with its time, by its own metrics; the rest is finishing segments."""
ENVS = {64: "64 environments", 256: "256 environments"}
"""Of a rollout, and what the measurement is called."""

COUNTING = {"entryPoint": "tests.bench.counting:Counting", "config": {"rolloutLength": LENGTH}}


def counting_replay(samples_per_insert: float = 8.0) -> dict[str, Any]:
    """Batches of 256 that are sampled, sent and counted."""
    return {
        "entryPoint": "tests.bench.counting:CountingReplay",
        "config": {"batchSize": 256, "samplesPerInsert": samples_per_insert},
    }


def rates(running: Roles, seconds: float = SECONDS) -> Values:
    """Rates of a job that was just started, after a moment of warming up, and what the learner did with its
    time: microseconds of each stage for an update."""
    running.until(WARM)
    return _between(running, seconds)


def _between(running: Roles, least: float) -> Values:
    """Rates from the learner's newest record until the first one after so many seconds."""
    first, cpu, stages = running.records()[-1], running.cpu(), running.stages("learner")
    running.until(first["time"] + least, "time")
    last, used, spent = running.records()[-1], running.cpu(), running.stages("learner")
    seconds = last["time"] - first["time"]
    steps, updates = last["steps"] - first["steps"], last["updates"] - first["updates"]
    values = {
        "steps/s": steps / seconds,
        "updates/s": updates / seconds,
        "lag p95": last["lagP95"],
        "cores": sum(used[name] - cpu[name] for name in cpu) / seconds,
    }
    for name in stages:
        values[f"{name} us/update"] = 1e6 * (spent[name] - stages[name]) / max(1, updates)
    for name in cpu:
        values[f"{name} us/step"] = 1e6 * (used[name] - cpu[name]) / max(1, steps)
        values[f"{name} MiB"] = running.resident()[name]
    return values


def _in_turns(envs: int, ways: tuple[str, ...]) -> Measure:
    """The rollout loop that sends nothing, and a job for each way, one after the other and again: a machine whose
    speed changes within a minute is the same for all of them. Who has no turn is stopped."""

    def run(seed: int) -> Values:
        taken: dict[str, list[Values]] = {name: [] for name in ("alone", *ways)}
        with ExitStack() as stack:
            alone = stack.enter_context(_alone(seed, envs))
            running = {way: stack.enter_context(_stopped(seed, envs, way)) for way in ways}
            for _ in range(TURNS):
                taken["alone"].append(alone())
                for way, one in running.items():
                    taken[way].append(_turn(one))
        return {
            f"{way} {name}": statistics.mean(turn[name] for turn in turns)
            for way, turns in taken.items()
            for name in turns[0]
        }

    return run


@contextmanager
def _started(algorithm: dict[str, Any], seed: int, envs: int, way: str) -> Iterator[Roles]:
    content = job(algorithm, envs=envs, seconds=3600, seed=seed)
    with roles(content, way.removesuffix("+curve"), way.endswith("+curve")) as running:
        for role in ("learner", "buffer", "rollout"):
            running.start(role)
        yield running


@contextmanager
def _stopped(seed: int, envs: int, way: str) -> Iterator[Roles]:
    """A counting job that has warmed up and waits for its turn."""
    with _started(COUNTING, seed, envs, way) as running:
        running.until(WARM)
        running.pause()
        yield running


def _turn(running: Roles) -> Values:
    running.resume()
    # The first record has the time that it was stopped in it.
    running.until(time.time(), "time")
    begun, before = time.monotonic(), running.stages("rollout")
    values = _between(running, TURN)
    steps = values["steps/s"] * (time.monotonic() - begun)
    for name, seconds in running.stages("rollout").items():
        values[f"{name} us/step"] = 1e6 * (seconds - before[name]) / steps
    running.pause()
    return values


@contextmanager
def _alone(seed: int, envs: int) -> Iterator[Callable[[], Values]]:
    """The same rollout loop in a process of its own, without sending anything: each call is one turn."""
    command = [sys.executable, "-m", "tests.bench.path", str(seed), str(envs)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=ENVIRONMENT, stdin=pipe, stdout=pipe, text=True) as process:
        asked, told = process.stdin, process.stdout
        assert asked is not None
        assert told is not None

        def turn() -> Values:
            print(TURN, file=asked, flush=True)
            values: Values = json.loads(told.readline())
            return values

        turn()
        yield turn


def _collect(seed: int, envs: int) -> None:
    """Collect for as many seconds as each line of stdin says, and print the rate."""
    from rljob import spec
    from rljob.algorithms import load_config, resolve_algorithm
    from rljob.envs.vector import Environments
    from rljob.nets import build_acting, build_networks, export
    from rljob.roles.rollout.collect import Collector
    from rljob.wire.experience import ExperienceFormat

    parsed = spec.parse(job(COUNTING, envs=envs, seconds=1, seed=seed)).spec
    environments = Environments(parsed.environment, envs)
    made = resolve_algorithm(parsed.algorithm)(load_config(parsed.algorithm), environments.spaces)
    spaces, nets = environments.spaces, made.networks
    networks = build_acting(parsed.network, nets, spaces)
    networks.load(export(build_networks(parsed.network, nets, spaces, seed), nets))
    collector = Collector([environments], networks, made, LENGTH)
    collector.reset((seed,))
    _, segment = ExperienceFormat.of(
        made.data, made.fields, parsed.rollout.envs_per_replica, spaces
    ).layout.allocate()
    for line in sys.stdin:
        cpu, begun, steps = time.process_time(), time.monotonic(), 0
        environment, acting = collector.environment_seconds, collector.acting_seconds
        while time.monotonic() - begun < float(line):
            collector.collect(segment, lambda: None)
            steps += int(segment["valid"].sum())
        values = {
            "steps/s": steps / (time.monotonic() - begun),
            "rollout us/step": 1e6 * (time.process_time() - cpu) / steps,
            "environment us/step": 1e6 * (collector.environment_seconds - environment) / steps,
            "acting us/step": 1e6 * (collector.acting_seconds - acting) / steps,
        }
        print(json.dumps(values), flush=True)


def _replay(way: str) -> Measure:
    def run(seed: int) -> Values:
        with _started(counting_replay(), seed, 64, way) as running:
            return rates(running)

    return run


def _stages(results: Results) -> str:
    """Processor time of each role for one environment step, and what the rollout does with its time."""
    split: Results = {
        f"{way} {envs}": [
            {"values": _nanoseconds(one["values"], way)} for one in results.get(name, ())
        ]
        for envs, name in ENVS.items()
        for way in ("alone", "ipc", "tcp")
    }
    cpu = {role: f"{role}, CPU ns a step" for role in ("rollout", "buffer", "learner")}
    loop = {stage: f"{stage}, ns a step" for stage in (*STAGES, REST)}
    return f"{table(split, cpu)}\n\n{table(split, loop)}"


def _nanoseconds(values: Values, way: str) -> Values:
    """What one way took for a step, in nanoseconds."""
    taken = {
        name.removeprefix(f"{way} ").removesuffix(" us/step"): 1e3 * value
        for name, value in values.items()
        if name.startswith(f"{way} ") and name.endswith(" us/step")
    }
    taken[REST] = 1e9 / values[f"{way} steps/s"] - sum(taken.get(name, 0.0) for name in STAGES)
    return taken


GROUP = Group(
    "path",
    "The way of the experience",
    {
        ENVS[64]: _in_turns(64, ("ipc", "tcp", "tcp+curve")),
        ENVS[256]: _in_turns(256, ("ipc", "tcp")),
        "replay ipc": _replay("ipc"),
        "replay tcp": _replay("tcp"),
    },
    [
        *(
            ratio(
                f"Rollout and shipping / the same loop without sending, N={envs} T=32",
                (name, "ipc steps/s"),
                (name, "alone steps/s"),
                0.9,
                " steps/s",
            )
            for envs, name in ENVS.items()
        ),
        *(
            plain(
                f"To a counting learner, {way}, N={envs} T=32",
                (name, f"{way} steps/s"),
                8e5,
                " steps/s",
            )
            for way in ("ipc", "tcp")
            for envs, name in ENVS.items()
        ),
        *(
            plain(
                f"Replay, batches of 256 at the learner, {way}",
                (f"replay {way}", "updates/s"),
                5000,
                " /s",
            )
            for way in ("ipc", "tcp")
        ),
        ratio(
            "Rate with CURVE over tcp / without",
            (ENVS[64], "tcp+curve steps/s"),
            (ENVS[64], "tcp steps/s"),
            0.85,
            " steps/s",
        ),
        plain("Rollout at work, resident", (ENVS[64], "ipc rollout MiB"), 150, " MiB", least=False),
    ],
    stages=_stages,
    note=(
        "One rollout of N environments of CartPole-v1 in their vector form, one buffer, and one learner "
        "that counts what it gets and publishes a policy version for every segment of 32 steps. The same loop without "
        "sending and the ways to send take turns of half a second or more, eight each; who has no turn is stopped."
    ),
    limit=findings(
        (
            "Environment and acting alone allow little more than the aim of 800,000 steps/s, N=64",
            "713,000 steps/s; 830,000 while no step is slow",
        ),
        (
            "A segment without sending",
            "3.0 ms with N=64, 4.8 ms with N=256",
        ),
        (
            "A job adds to each segment",
            "0.4 ms and 0.85 ms; a ratio of 0.9 would leave 0.33 ms and 0.54 ms",
        ),
        (
            "Of that, shipping",
            "0.28 ms and 0.36 ms",
        ),
        (
            "Of shipping: receive, check, read and load a policy version, and ask for the next one",
            "0.13 ms; the counting learner publishes one for every segment",
        ),
        (
            "Of shipping: read two grants",
            "0.06 ms",
        ),
        (
            "Of shipping: send the segment",
            "0.06 ms and 0.08 ms",
        ),
        (
            "Waiting",
            "0.04 ms",
        ),
        (
            "The rest: the first six steps after a segment's end are slower",
            "0.05 ms together (six runs with N=64, three with N=256, each step timed); inferred: other code has just used the caches",
        ),
        (
            "The rest: all other steps are slower",
            "2 % in the median: 0.05 ms and 0.08 ms",
        ),
        (
            "The rest: more steps than without sending take half as long again or twice",
            "0 to 0.2 ms a segment, once 0.5 ms",
        ),
        (
            "Slow steps also occur without a job",
            "a loop on one core that computes only the tanh of 16 KB: 0.1 to 11 % of the windows of 2 ms are a fifth slower or more (three runs, almost nothing stolen); up to 4 % have little more than half the speed when the other core does the same",
        ),
        (
            "The figure moves with the machine",
            "the same five seeds gave 0.747 and 0.863 a few hours before",
        ),
    ),
)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int)
    parser.add_argument("envs", type=int)
    arguments = parser.parse_args()
    _collect(arguments.seed, arguments.envs)
