"""Processes by themselves: how soon a rollout is at work, what a full buffer holds, the command's help."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from typing import Any

from rljob import spec
from rljob.algorithms import load_config, resolve_algorithm
from rljob.envs.vector import Environments
from rljob.local.spawner import Spawner
from rljob.process.context import job_number
from rljob.wire.arrays import nbytes
from rljob.wire.endpoints import buffer_endpoints
from rljob.wire.experience import ExperienceFormat
from rljob.wire.messages import MessageKind
from rljob.wire.sockets import Endpoint, Wire
from tests.bench.group import Figure, Group, Lookup, Values, plain
from tests.bench.machine import resident_mib
from tests.bench.path import COUNTING, counting_replay
from tests.bench.roles import ENVIRONMENT, PATIENCE, ROOT, job, roles

CAPACITY = 2_000_000
"""Steps in the buffer whose memory is measured."""
HELPS = 10


def rollout_start(seed: int) -> Values:
    """Seconds from a rollout's start to its first word to the buffer, and what it then holds: started
    by hand, by a fork server that has just been started itself, and by one that is there."""
    content = job(COUNTING, envs=64, seconds=1, seed=seed)
    with roles(content) as running:
        wire = Wire(job_number(spec.parse(content)), None, lambda *_: None)
        endpoint = wire.serve(buffer_endpoints(running.buffer).experience, "experience")
        try:
            started = time.monotonic()
            running.start("rollout")
            values = {"by hand": _heard(wire, endpoint, started)}
            values["by hand MiB"] = running.resident()["rollout"]
            running.end()
            for _ in endpoint.receive():
                pass
            started = time.monotonic()
            spawner = Spawner()
            try:
                for index, name in enumerate(("forked first", "forked")):
                    if index:
                        started = time.monotonic()
                    arguments = running.arguments("rollout", index)
                    log = running.folder / f"{name}.log"
                    spawner.spawn(name, arguments, log, [str(ROOT)])
                    values[name] = _heard(wire, endpoint, started, index)
                    spawner.exits(1.0)
                    pid = spawner.running[name]
                    assert pid is not None
                    values[f"{name} MiB"] = resident_mib(pid)
            finally:
                spawner.close(kill=True)
        finally:
            wire.close()
    return values


def _heard(wire: Wire, endpoint: Endpoint, started: float, index: int = 0) -> float:
    name = f"rollout-{index}".encode()
    while time.monotonic() - started < PATIENCE:
        wire.wait(1.0)
        for message in endpoint.receive():
            if message.header.kind is MessageKind.HELLO and message.client == name:
                return time.monotonic() - started
    raise AssertionError("the rollout said nothing")


def full_buffer(seed: int) -> Values:
    """Memory of a buffer with `CAPACITY` steps in it, and the size of those steps, in MiB."""
    content = job(counting_replay(0.1), envs=64, seconds=3600, seed=seed, capacity=CAPACITY)
    with roles(content) as running:
        for role in ("learner", "buffer", "rollout"):
            running.start(role)
        running.until(1.1 * CAPACITY, "steps")
        resident = running.resident()["buffer"]
    return {"resident": resident, "capacity": CAPACITY * _step_bytes(content) / 2**20}


def _step_bytes(content: dict[str, Any]) -> float:
    parsed = spec.parse(content).spec
    environments = Environments(parsed.environment, parsed.rollout.envs_per_replica)
    made = resolve_algorithm(parsed.algorithm)(load_config(parsed.algorithm), environments.spaces)
    plan = ExperienceFormat.of(
        made.data, made.fields, parsed.spec.rollout.envs_per_replica, environments.spaces
    )
    return math.fsum(nbytes(field) for field in plan.layout.fields) / plan.steps


def command_help(seed: int) -> Values:
    """Seconds that `rljob --help` takes."""
    seconds = []
    for _ in range(HELPS):
        started = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "rljob", "--help"],
            env=ENVIRONMENT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds.append(time.monotonic() - started)
    return {"seconds": sorted(seconds)[HELPS // 2]}


def _within(value: Lookup) -> float:
    return value("buffer", "resident") / (1.1 * value("buffer", "capacity") + 64)


GROUP = Group(
    "process",
    "Starting, and what is held",
    {"start": rollout_start, "buffer": full_buffer, "help": command_help},
    [
        *(
            plain(f"Rollout ready, {how}", ("start", value), 1.2, " s", least=False)
            for how, value in (
                ("started by hand", "by hand"),
                ("new fork server", "forked first"),
                ("fork server there", "forked"),
            )
        ),
        Figure(
            "Full buffer, resident / (capacity + 10 % + 64 MiB)",
            ("buffer",),
            _within,
            (("buffer", "resident", " MiB"), ("buffer", "capacity", " MiB")),
            1.0,
            least=False,
        ),
        plain("rljob --help", ("help", "seconds"), 0.3, " s", least=False),
    ],
)
