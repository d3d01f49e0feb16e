"""Policy versions: how soon four rollouts act with one, what becomes of too many, what packing costs."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rljob.algorithms.base import Head
from rljob.learner.publish import Publisher
from rljob.metrics import LearnerMetrics
from rljob.nets import build_engine, build_module, export
from rljob.policy import PolicyWeights
from rljob.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.spec.sections import NetworkSpec
from rljob.wire.endpoints import weights_endpoint
from rljob.wire.sockets import Wire
from rljob.wire.subscription import Subscription
from tests.bench.feeding import NUMBER, buffer_job, processes
from tests.bench.group import Figure, Group, Lookup, Measure, Values, plain, ratio
from tests.bench.machine import cpu_seconds
from tests.bench.roles import PATIENCE, roles

Applied = list[tuple[int, float]]
"""Versions that a subscriber applied, and when."""

HEADS = {"logits": Head(6), "value": Head(1)}
SPACES = {
    "mlp": Spaces(BoxSpace((4,)), DiscreteSpace(6)),
    "cnn": Spaces(BoxSpace((4, 84, 84), np.dtype(np.uint8), 0, 255), DiscreteSpace(6)),
}
SECONDS = 3.0
READY = 1.0
"""Seconds between two versions until every subscriber has applied one."""
SMALL_EVERY, LARGE_EVERY = 0.02, 0.005
LAST = 1_000_000
"""The version that ends a run."""


def _module(network: str) -> Any:
    return build_module(NetworkSpec(name=network), SPACES[network], HEADS, 0)


def _pack(module: Any) -> bytes:
    return PolicyWeights(export(module, tuple(HEADS)), {"epsilon": 0.1}).encode()


def _delivery(network: str, subscribers: int, transport: str, every: float) -> Measure:
    """Versions published at a fixed pace to subscribers that wait for nothing else."""

    def measure(seed: int) -> Values:
        payload = _pack(_module(network))
        with roles(buffer_job(1), transport) as running, processes(subscribers) as pool:
            wire = Wire(NUMBER, None, lambda *_: None)
            publisher = Publisher(wire, weights_endpoint(running.learner), LearnerMetrics())
            made = [
                pool.submit(_subscribe, running.learner, network, index, running.folder)
                for index in range(subscribers)
            ]
            _until(lambda: len(list(running.folder.glob("ready-*"))) == subscribers)
            publisher.publish((1, 0), payload)
            _until(lambda: len(list(running.folder.glob("applied-*"))) == subscribers)
            published = _publish(publisher, payload, every)
            applied = [one.result(PATIENCE) for one in made]
            publisher.close()
        return _ages(published, [one[0] for one in applied]) | {
            "subscriber us": 1e6 * sum(one[1] for one in applied) / sum(len(one[0]) for one in applied)
        }

    return measure


def _publish(publisher: Publisher, payload: bytes, every: float) -> dict[int, float]:
    """When each version was published."""
    published: dict[int, float] = {}
    begun = time.monotonic()
    for index in range(1, int(SECONDS / every) + 1):
        time.sleep(max(0.0, begun + index * every - time.monotonic()))
        published[index] = time.monotonic()
        publisher.publish((1, index), payload)
    time.sleep(0.2)
    publisher.publish((1, LAST), payload)
    return published


def _subscribe(address: str, network: str, index: int, folder: Path) -> tuple[Applied, float]:
    """What a rollout does with versions, and the CPU seconds of it."""
    torch.set_num_threads(1)
    engine = build_engine(NetworkSpec(name=network), SPACES[network], HEADS, tuple(HEADS))
    wire = Wire(NUMBER, None, lambda *_: None)
    subscription = Subscription(
        wire.connect(weights_endpoint(address), f"rollout-{index}", "learner")
    )
    applied: Applied = []
    (folder / f"ready-{index}").touch()
    cpu = time.process_time()
    while subscription.stamp[1] != LAST:
        payload = subscription.newest(time.monotonic())
        if payload is None:
            wire.wait(0.1)
            continue
        engine.load(PolicyWeights.decode(payload).tensors)
        applied.append((subscription.stamp[1], time.monotonic()))
        if len(applied) == 1:
            (folder / f"applied-{index}").touch()
            cpu = time.process_time()
    used = time.process_time() - cpu
    wire.close()
    return applied[1:-1], used


def _until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, "a subscriber did not get ready"
        time.sleep(0.05)


def _ages(published: dict[int, float], each: list[Applied]) -> Values:
    """Milliseconds from publishing to applying, for each subscriber and until the last of them."""
    ages = np.array([at - published[version] for applied in each for version, at in applied])
    whole = set.intersection(*({version for version, _ in applied} for applied in each))
    last = [max(dict(applied)[version] for applied in each) - published[version] for version in whole]
    when = sorted((at, at - published[version]) for applied in each for version, at in applied)
    quarter = max(1, len(when) // 4)
    first, end = ([age for _, age in part] for part in (when[:quarter], when[-quarter:]))
    values = {f"p{q} ms": 1e3 * float(np.percentile(ages, q)) for q in (50, 99)}
    if last:
        values |= {f"all p{q} ms": 1e3 * float(np.percentile(last, q)) for q in (50, 99)}
    return values | {
        "growth": float(np.median(end) / np.median(first)),
        "skipped": 1 - len(ages) / (len(each) * len(published)),
        "versions/s": len(ages) / len(each) / SECONDS,
    }


def _packing(network: str) -> Measure:
    """Module to bytes to tensors, ours and pickle's of `state_dict()`; medians of many times."""

    def measure(seed: int) -> Values:
        torch.set_num_threads(1)
        module = _module(network)
        state = module.state_dict
        steps: dict[str, Callable[[], Any]] = {
            "export": lambda: export(module, tuple(HEADS)),
            "pack": lambda: _pack(module),
            "unpack": lambda payload=_pack(module): PolicyWeights.decode(payload),
            "dumps": lambda: pickle.dumps(state()),
            "loads": lambda made=pickle.dumps(state()): pickle.loads(made),
        }
        values = {name: _microseconds(step) for name, step in steps.items()}
        return values | {
            "ours": values["pack"] + values["unpack"],
            "pickle": values["dumps"] + values["loads"],
        }

    return measure


def _microseconds(step: Callable[[], Any]) -> float:
    """CPU time of one call, the median of many: others on this machine do not count."""
    taken, end = [], time.monotonic() + 0.5
    while time.monotonic() < end:
        started = time.thread_time()
        step()
        taken.append(time.thread_time() - started)
    return 1e6 * float(np.median(taken))


MEASUREMENTS = {
    "20 KB ipc": _delivery("mlp", 4, "ipc", SMALL_EVERY),
    "20 KB tcp": _delivery("mlp", 4, "tcp", SMALL_EVERY),
    "6.75 MB alone": _delivery("cnn", 1, "ipc", LARGE_EVERY),
    "6.75 MB ipc": _delivery("cnn", 4, "ipc", LARGE_EVERY),
    "6.75 MB tcp": _delivery("cnn", 4, "tcp", LARGE_EVERY),
    "packing mlp": _packing("mlp"),
    "packing cnn": _packing("cnn"),
}

GROUP = Group("weights", "Policy versions", MEASUREMENTS, [])
