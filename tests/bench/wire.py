"""The transport of experience against ZeroMQ by itself: segments of 64 KB from one process to another."""

from __future__ import annotations

import time

import numpy as np
import zmq

from rljob.envs.spaces import BoxSpace
from tests.bench.feeding import NEVER, Feeder, Taker, buffer_job, processes, replay_plan
from tests.bench.findings import findings
from tests.bench.group import Group, Measure, Values, ratio
from tests.bench.roles import PATIENCE, roles
from tests.bench.stages import table

CARTPOLE = BoxSpace((4,), np.dtype(np.float32), -np.inf, np.inf)
SHAPE = (32, 64)
"""Steps and environments of a segment: 64 KiB of CartPole."""
SECONDS = 3.0
WARM = 0.5
CAPACITY = 200_000
END = b"end"


def _raw(transport: str) -> Measure:
    """PUSH to PULL, one frame a message, not copied, each side a loop of nothing else."""

    def measure(seed: int) -> Values:
        size = replay_plan(CARTPOLE, SHAPE, NEVER).layout.size
        with roles(buffer_job(CAPACITY), transport) as running, processes(1) as pool:
            context = zmq.Context()
            pull = context.socket(zmq.PULL)
            pull.bind(running.buffer)
            pull.setsockopt(zmq.RCVTIMEO, int(1000 * PATIENCE))
            pushing = pool.submit(_push, running.buffer, size)
            count, first = 0, 0.0
            while len(pull.recv(copy=False)) == size:
                now = time.monotonic()
                first = first or now
                if now - first < WARM:
                    begun, count, cpu = now, 0, time.process_time()
                count += 1
            seconds, used = now - begun, time.process_time() - cpu
            sent, sender = pushing.result(PATIENCE)
            pull.close()
            context.term()
            return _values(count, size, seconds, sender / sent, used / count)

    return measure


def _push(address: str, size: int) -> tuple[int, float]:
    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    push.connect(address)
    payload = bytearray(size)
    push.send(payload, copy=False)
    count, end, cpu = 0, time.monotonic() + WARM + SECONDS, time.process_time()
    while time.monotonic() < end:
        push.send(payload, copy=False)
        count += 1
    used = time.process_time() - cpu
    push.send(END)
    push.close()
    context.term()
    return count, used


def _ours(transport: str) -> Measure:
    """Segments that are there already, shipped, stored and acknowledged."""

    def measure(seed: int) -> Values:
        size = replay_plan(CARTPOLE, SHAPE, NEVER).layout.size
        with roles(buffer_job(CAPACITY), transport) as running, processes(1) as pool:
            running.start("buffer")
            shipping = pool.submit(_ship, running.buffer)
            taker = Taker(running.buffer)
            taker.opened()
            before = running.cpu()["buffer"]
            count, seconds, sender, every = shipping.result(PATIENCE)
            used = running.cpu()["buffer"] - before
            taker.close()
            return _values(count, size, seconds, sender / count, used / every)

    return measure


def _ship(address: str) -> tuple[int, float, float, int]:
    feeder = Feeder(address, replay_plan(CARTPOLE, SHAPE, NEVER))
    feeder.run(_prepare, lambda: feeder.stored > 0)
    first = time.monotonic()
    feeder.run(_as_it_is, lambda: time.monotonic() - first > WARM)
    before, begun, cpu = feeder.stored, time.monotonic(), time.process_time()
    feeder.run(_as_it_is, lambda: time.monotonic() - begun > SECONDS)
    seconds, used = time.monotonic() - begun, time.process_time() - cpu
    count, every = feeder.stored - before, feeder.stored
    feeder.close()
    return count, seconds, used, every


def _prepare(arrays: dict[str, np.ndarray]) -> None:
    arrays["valid"][...] = True


def _as_it_is(arrays: dict[str, np.ndarray]) -> None:
    pass


def _values(count: int, size: int, seconds: float, sender: float, receiver: float) -> Values:
    return {
        "GB/s": count * size / seconds / 1e9,
        "messages/s": count / seconds,
        "sender us": 1e6 * sender,
        "receiver us": 1e6 * receiver,
    }


GROUP = Group(
    "wire",
    "Transport of experience",
    {
        f"{name} {transport}": make(transport)
        for transport in ("ipc", "tcp")
        for name, make in (("raw", _raw), ("rljob", _ours))
    },
    [
        ratio(
            f"Bytes/s of segments of 64 KB / ZeroMQ's by itself, {transport}",
            (f"rljob {transport}", "GB/s"),
            (f"raw {transport}", "GB/s"),
            0.8,
            " GB/s",
        )
        for transport in ("ipc", "tcp")
    ],
    note=(
        "ZeroMQ by itself is PUSH to PULL: one frame a message, nothing copied on the Python side, each side "
        "a loop that does nothing else. Ours are segments that lie ready, 32 steps of 64 environments of "
        "CartPole: shipped, received, checked, de-duplicated, stored in the arena and acknowledged, as the "
        "rollout and the buffer do it; nothing is sampled."
    ),
    stages=lambda results: table(
        results,
        {"sender us": "sender, CPU µs a message", "receiver us": "receiver, CPU µs a message"},
    ),
    limit=findings(
        (
            "ZeroMQ's PULL only receives",
            "25 µs of CPU on each side for 64 KB, most of it the kernel's copies",
        ),
        (
            "Ours takes more at the rollout",
            "30 µs: accounting, header and two frames, credit, acknowledgements, counters; zmq copies the payload, because a notice that it was sent costs more",
        ),
        (
            "Ours takes more at the buffer",
            "65 µs: two or three frames, strict checks, a view of every array, copies into the arena's fields, the record of its arrival, credit for the next",
        ),
        (
            "The cost is Python for each segment, not for each byte",
            "larger segments come closer",
        ),
        (
            "A rollout has four segments on their way, a PUSH has a thousand",
            "with 16, a third more comes through; but on-policy a slow rollout would hold back that much more of what the others could make",
        ),
        (
            "Against a rollout that makes its segments",
            "all this is a few percent (see the path of the experience)",
        ),
    ),
)
