"""Policy versions: how soon four rollouts act with one, what becomes of too many, what packing costs."""

from __future__ import annotations

import pickle  # noqa: TID251 - what ours is compared with
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rljob.algorithms.base import Arrays, Head, Net
from rljob.checkpoints import policy
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.nets import build_acting, build_networks, export
from rljob.roles.learner.weight_server import Publisher
from rljob.spec.sections import NetworkSpec
from rljob.telemetry.metrics import LearnerMetrics
from rljob.wire.endpoints import weights_endpoint
from rljob.wire.sockets import Wire
from rljob.wire.subscription import Subscription
from tests.bench.feeding import NUMBER, buffer_job, processes
from tests.bench.findings import findings
from tests.bench.group import Figure, Group, Lookup, Measure, Values, ratio
from tests.bench.roles import PATIENCE, roles
from tests.bench.stages import table

Applied = list[tuple[int, float]]
"""Versions that a subscriber applied, and when."""

NETS = {"policy": Net({"logits": Head(6), "value": Head(1)}, acts=("logits",))}
SPACES = {
    "mlp": Spaces(BoxSpace((4,)), DiscreteSpace(6)),
    "cnn": Spaces(BoxSpace((4, 84, 84), np.dtype(np.uint8), 0, 255), DiscreteSpace(6)),
}
SECONDS = 3.0
EVERY = 0.005
"""Seconds between two versions."""
LAST = 1_000_000
"""The version that ends a run."""


def _networks(network: str) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    return dict(build_networks(NetworkSpec(name=network), NETS, SPACES[network], 0))


def _export(networks: dict[str, Any]) -> Arrays:
    return export(networks, NETS, copy=False)


def _pack(networks: dict[str, Any]) -> bytes:
    return policy.encode({**_export(networks), "epsilon": np.array(0.1)})


def _delivery(network: str, subscribers: int, transport: str, every: float) -> Measure:
    """Versions published at a fixed pace to subscribers that wait for nothing else."""

    def measure(seed: int) -> Values:
        payload = _pack(_networks(network))
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
            "subscriber us": 1e6
            * sum(one[1] for one in applied)
            / sum(len(one[0]) for one in applied)
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
    networks = build_acting(NetworkSpec(name=network), NETS, SPACES[network])
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
            subscription.ask(time.monotonic())
            wire.wait(0.1)
            continue
        networks.load(policy.decode(payload))
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
    last = [
        max(dict(applied)[version] for applied in each) - published[version] for version in whole
    ]
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
    """Module to bytes to tensors, ours and pickle's of the same tensors of `state_dict()`."""

    def measure(seed: int) -> Values:
        networks = _networks(network)
        module = networks["policy"]
        packed, names = _pack(networks), {name.partition("/")[2] for name in _export(networks)}

        def dumps() -> bytes:
            return pickle.dumps({n: t for n, t in module.state_dict().items() if n in names})

        pickled = dumps()
        values = {
            "export": _microseconds(lambda: _export(networks)),
            "pack": _microseconds(lambda: _pack(networks)),
            "unpack": _microseconds(lambda: policy.decode(packed)),
            "dumps": _microseconds(dumps),
            "loads": _microseconds(lambda: pickle.loads(pickled)),  # noqa: S301 - our own bytes
        }
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


COSTS = {
    "subscriber us": "a subscriber's CPU for each version, µs",
    "export": "tensors of the module, µs",
    "pack": "with packing, µs",
    "unpack": "unpacking, µs",
    "dumps": "`pickle.dumps`, µs",
    "loads": "`pickle.loads`, µs",
}


def _late(transport: str) -> Figure:
    """Median age when one of the four has applied a version."""
    name = f"20 KB {transport}"

    def figure(value: Lookup) -> float:
        return value(name, "p50 ms")

    parts = (
        (name, "p99 ms", " ms p99"),
        (name, "all p50 ms", " ms p50 of the last of four"),
        (name, "all p99 ms", " ms p99 of the last"),
    )
    label = f"20 KB until a rollout acts with it, four of them, median, {transport}"
    return Figure(label, (name,), figure, parts, 0.5, " ms", least=False)


def _growth(name: str, label: str) -> Figure:
    """Ages of the last quarter over those of the first."""

    def figure(value: Lookup) -> float:
        return value(name, "growth")

    parts = (
        (name, "skipped", " of versions skipped"),
        (name, "p50 ms", " ms p50"),
        (name, "p99 ms", " ms p99"),
        (name, "versions/s", " versions/s"),
    )
    return Figure(label, (name,), figure, parts, 2.0, least=False)


def _packed(network: str, label: str) -> Figure:
    what = f"packing {network}"
    return ratio(
        f"Packing and unpacking, times faster than pickle, {label}",
        (what, "pickle"),
        (what, "ours"),
        10.0,
        " µs",
    )


GROUP = Group(
    "weights",
    "Policy versions",
    {
        "20 KB ipc": _delivery("mlp", 4, "ipc", EVERY),
        "20 KB tcp": _delivery("mlp", 4, "tcp", EVERY),
        "6.75 MB alone": _delivery("cnn", 1, "ipc", EVERY),
        "6.75 MB ipc": _delivery("cnn", 4, "ipc", EVERY),
        "6.75 MB tcp": _delivery("cnn", 4, "tcp", EVERY),
        "packing mlp": _packing("mlp"),
        "packing cnn": _packing("cnn"),
    },
    [
        _late("ipc"),
        _late("tcp"),
        *(
            _growth(
                f"6.75 MB {how}", f"6.75 MB 200 times a second, age at the end / at first, {label}"
            )
            for how, label in (("ipc", "four, ipc"), ("tcp", "four, tcp"), ("alone", "one, ipc"))
        ),
        ratio(
            "6.75 MB, median age with four / with one",
            ("6.75 MB ipc", "p50 ms"),
            ("6.75 MB alone", "p50 ms"),
            None,
            " ms",
        ),
        _packed("mlp", "20 KB"),
        _packed("cnn", "6.75 MB"),
    ],
    note=(
        "The learner's publisher and subscribers as rollouts have them, each a process that does nothing "
        "else; from `publish` until the weights are loaded. 20 KB is a network of two layers of 64, "
        "6.75 MB the network `cnn`; each is published 200 times a second. A version that is "
        "replaced before anybody asks for it is skipped. Packing is from the learner's module to bytes and "
        "from bytes to the rollout's tensors, against `pickle` of the same tensors of `state_dict()`, in "
        "CPU time."
    ),
    stages=lambda results: table(results, COSTS),
    limit=findings(
        (
            "20 KB: a version wakes up four threads, one after the other",
            "publisher, the sockets' threads on both sides, the one that acts",
        ),
        (
            "20 KB, one subscriber",
            "0.34 ms: 0.04 until the publisher looks, 0.16 until the subscriber is awake, 0.07 to receive and check the SHA-256, 0.07 to read and load",
        ),
        (
            "20 KB: each part takes three times what it takes in a loop",
            "caches are cold after 5 ms of sleep",
        ),
        (
            "20 KB, four subscribers share two cores with the publisher",
            "the first acts after 0.45 ms, the last after 0.76 ms, when the machine is at its best; within an hour the same commit gave medians of 0.6 to 1.0 ms",
        ),
        (
            "20 KB, ZeroMQ alone, from a loop to four loops that only read",
            "0.2 to 0.3 ms",
        ),
        (
            "6.75 MB: sender and receiver each hash a version",
            "SHA-256, 4 ms; it also passes through the kernel for each subscriber, and each engine lays it out anew",
        ),
        (
            "6.75 MB, four subscribers on two cores",
            "about 35 versions/s; versions published meanwhile are skipped",
        ),
    ),
)
