"""The evaluator process: regularly plays greedy episodes of the newest policy and records the returns."""

from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rljob.algorithms.base import Algorithm
from rljob.checkpoints import policy
from rljob.envs.vector import Environments
from rljob.errors import InputError
from rljob.nets.acting import ActingNetworks
from rljob.process import downloads
from rljob.process.context import RoleContext
from rljob.process.hardware import HardwareMeter, HardwareUse
from rljob.process.multiples import Multiples
from rljob.roles.evaluator import check
from rljob.roles.evaluator.play import GreedyEpisodes, Interrupted, acting, environments_for, play
from rljob.run_folder import json_files
from rljob.run_folder.names import EVALUATIONS
from rljob.telemetry.health import Health
from rljob.telemetry.metrics import EvaluatorMetrics
from rljob.wire.endpoints import weights_endpoint
from rljob.wire.evaluated import PlayedPolicy
from rljob.wire.sockets import Wire
from rljob.wire.subscription import Subscription
from rljob.wire.weights import Stamp

if TYPE_CHECKING:
    from rljob.roles.evaluator.videos import Videos
    from rljob.spec.sections import EvaluationSpec

_LOG = logging.getLogger("rljob")
NICENESS = 10
"""Training has priority when both need the same core."""
WAIT = 0.1
"""Longest wait of the loop, in seconds."""
LOOK_EVERY = 1.0
"""Seconds between two requests for a policy, to see how far training is, with intervals by steps or updates."""
FRESH_SECONDS = 0.3
"""Seconds to wait for a newer version: the first one that arrives was requested an interval ago."""


def main(context: RoleContext) -> None:
    """Run until asked to stop.

    Raises:
        AskedToEnd: asked to stop before the loop began.
        InputError: when the job has no evaluation, or environment, algorithm or network cannot
            be used.
        RunError: when the environment fails.
    """
    evaluation = context.job.spec.evaluation
    if evaluation is None:
        raise InputError("is missing; an evaluator needs it", path="evaluation")
    check(evaluation)
    os.nice(NICENESS)
    metrics = EvaluatorMetrics()
    with ExitStack() as stack:
        private = {"/records": lambda: downloads.records(context.folder)}
        health, server = context.observe(metrics, private=private)
        stack.callback(server.close)
        with context.stop.at_once():
            environments = environments_for(context.job, evaluation.episodes)
            stack.callback(environments.close)
            algorithm, networks = acting(context.job, environments)
            videos: Videos | None = None
            if evaluation.video:
                from rljob.roles.evaluator.videos import Videos

                videos = Videos(context.job, context.folder)
                stack.callback(videos.close)
        wire = context.wire(lambda _, reason: metrics.messages_rejected[reason].inc())
        stack.callback(wire.close)
        weights = wire.connect(weights_endpoint(context.learner), context.name, "learner")
        metrics.links.add("weights", weights.traffic)
        subscription = Subscription(weights)
        context.announce(server)
        evaluator = Evaluator(
            context, environments, networks, algorithm, subscription, wire, metrics, health, videos
        )
        evaluator.run(evaluation)


class Evaluator:
    """The loop of one evaluator."""

    def __init__(
        self,
        context: RoleContext,
        environments: Environments,
        networks: ActingNetworks,
        algorithm: Algorithm,
        subscription: Subscription,
        wire: Wire,
        metrics: EvaluatorMetrics,
        health: Health,
        videos: Videos | None,
    ) -> None:
        self._context = context
        self._environments = environments
        self._networks = networks
        self._algorithm = algorithm
        self._subscription = subscription
        self._wire = wire
        self._metrics = metrics
        self._health = health
        self._videos = videos
        self._meter = HardwareMeter()
        self._untold: PlayedPolicy | None = None

    def run(self, evaluation: EvaluationSpec) -> None:
        """At each of the intervals play episodes, if there is a policy that was not played."""
        self._health.waits_for = "weights"
        multiples, due = Multiples(evaluation), float("-inf")
        while not self._stopping():
            payload = self._newest(due, multiples)
            if payload is None:
                return
            if multiples.any:
                multiples.done(*_counts(payload))
            due = time.monotonic() + evaluation.interval.seconds
            try:
                self._evaluate(payload, self._subscription.stamp, evaluation.episodes)
            except Interrupted:
                return

    def _newest(self, due: float, multiples: Multiples) -> bytes | None:
        """Wait for a trained policy that was not played yet and is to be played now; None when asked to stop.

        Args:
            due: when any is to be played, by `time.monotonic`.
            multiples: of which another one lets it be played earlier.
        """
        while not multiples.any and (left := due - time.monotonic()) > 0 and not self._stopping():
            # Request nothing meanwhile: versions that are not played need not be sent.
            time.sleep(min(WAIT, left))
            self._wire.renew()
            self._tell()
        newest: bytes | None = None
        fresh, asks = max(due, time.monotonic()) + FRESH_SECONDS, float("-inf")
        while not self._stopping():
            self._tell()
            now = time.monotonic()
            payload = self._subscription.newest(now)
            if payload is not None:
                self._health.waits_for = ""
            # Version 0 is untrained.
            if payload is not None and self._subscription.stamp[1] > 0:
                newest = payload
            if newest is not None and now >= fresh:
                return newest
            if newest is not None and multiples.any and multiples.passed(*_counts(newest)):
                return newest
            if now >= min(due, asks) or self._subscription.receiving:
                self._subscription.ask(now)
                asks = now + LOOK_EVERY
            self._wire.wait(WAIT)
        return None

    def _evaluate(self, payload: bytes, stamp: Stamp, episodes: int) -> None:
        published = policy.decode(payload)
        self._networks.load(published)
        sequence = np.random.SeedSequence((self._context.seed, *stamp))
        played = play(
            self._environments,
            self._networks,
            self._algorithm,
            episodes,
            int(sequence.generate_state(1, np.uint32)[0]),
            self._stopping,
        )
        append(self._context.folder, stamp, played, self._meter.measure())
        self._untold = PlayedPolicy(
            *stamp, played.episodes, played.mean, played.std, played.min, played.max
        )
        self._tell()
        if self._videos is not None:
            self._videos.add(stamp[1], published, self._context.seed, self._stopping)
        metrics = self._metrics
        metrics.evaluations.inc()
        metrics.return_mean.set(played.mean)
        metrics.return_std.set(played.std)
        metrics.return_min.set(played.min)
        metrics.return_max.set(played.max)
        metrics.policy_version.set(stamp[1])
        for _ in range(played.episodes):
            metrics.episode_seconds.observe(played.seconds / played.episodes)

    def _tell(self) -> None:
        """Tell the learner of the newest evaluation, as soon as it can be sent."""
        if self._untold is not None and self._subscription.tell(self._untold):
            self._untold = None

    def _stopping(self) -> bool:
        self._health.beat()
        return self._context.stopping()


def _counts(payload: bytes) -> tuple[int, int]:
    """Steps and updates of a policy version; 0 where its learner does not tell them."""
    steps, updates = policy.decode(payload).get(policy.PROGRESS, np.zeros(2, np.int64)).tolist()
    return steps, updates


def append(folder: Path, stamp: Stamp, played: GreedyEpisodes, used: HardwareUse) -> None:
    """Add one line to `evaluations.jsonl`. One that cannot be written is told and lost.

    Args:
        used: of the machine, since the last line.
    """
    lineage, version = stamp
    record = {
        "time": round(time.time(), 3),
        "policyVersion": version,
        "lineage": lineage,
        "mean": played.mean,
        "std": played.std,
        "min": played.min,
        "max": played.max,
        "episodes": played.episodes,
        "seconds": round(played.seconds, 3),
        "cores": used.cores,
        "memory": used.memory,
    }
    if played.cut:
        record["cutOff"] = played.cut
        _LOG.warning("%s", played.cut_text)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = json_files.Appender(folder / EVALUATIONS)
    except OSError as error:
        _LOG.warning("%s cannot be written: %s; a line is lost", EVALUATIONS, error.strerror)
        return
    file.write(record)
    file.close()
