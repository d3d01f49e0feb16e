"""The rollout process repeats: wait for credit and weights, collect a segment, ship it."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack

from rljob.algorithms import make_algorithm
from rljob.algorithms.recorded_discount import recorded_discount
from rljob.checkpoints import policy
from rljob.checkpoints.policy import BOUNDARY
from rljob.envs.factory import group_sizes
from rljob.envs.vector import Environments
from rljob.errors import RunError
from rljob.nets import build_acting
from rljob.nets.acting import ActingNetworks
from rljob.process.context import RoleContext, actor_number
from rljob.roles.rollout.bounds import BoundsCheck
from rljob.roles.rollout.collect import Collector
from rljob.roles.rollout.ship import WORTH_WAITING, Shipper
from rljob.telemetry.health import Health
from rljob.telemetry.metrics import RolloutMetrics
from rljob.user_code.generators import seed_global_generators
from rljob.wire.endpoints import buffer_endpoints, weights_endpoint
from rljob.wire.experience import ExperienceFormat
from rljob.wire.sockets import Wire
from rljob.wire.subscription import Subscription
from rljob.wire.weights import NOTHING, Stamp

_LOG = logging.getLogger("rljob")
SERVICE_EVERY = 0.25
"""Seconds after which the sockets are served in the middle of a segment."""
WAIT = 0.1
"""Longest wait of the loop, in seconds."""
DRAIN_SECONDS = 10.0
"""Seconds to wait at the end for the acknowledgement of the last segments, while the buffer answers."""


def main(context: RoleContext) -> None:
    """Run until asked to stop.

    Raises:
        AskedToEnd: asked to stop before the loop began.
        InputError: when environment, algorithm or network cannot be used.
        RunError: when the environment fails or the buffer refuses this rollout.
    """
    spec = context.job.spec
    metrics = RolloutMetrics()
    with ExitStack() as stack:
        health, server = context.observe(metrics)
        stack.callback(server.close)
        if spec.strict:
            seed_global_generators((context.seed, context.index))
        with context.stop.at_once():
            groups = []
            for size in group_sizes(spec.environment, spec.rollout.envs_per_replica):
                groups.append(Environments(spec.environment, size, info=True))
                stack.callback(groups[-1].close)
        wire = context.wire(lambda _, reason: metrics.messages_rejected[reason].inc())
        stack.callback(wire.close)
        experience = wire.connect(
            buffer_endpoints(context.buffer).experience, context.name, "buffer"
        )
        weights = wire.connect(weights_endpoint(context.learner), context.name, "learner")
        metrics.links.add("experience", experience.traffic)
        metrics.links.add("weights", weights.traffic)
        # Before the first reset: where it hangs, others ask what this process does.
        context.announce(server)
        with context.stop.at_once():
            spaces = groups[0].spaces
            algorithm = make_algorithm(spec.algorithm, spaces)
            networks = build_acting(
                spec.network,
                algorithm.networks,
                spaces,
                spec.rollout.precision,
                spec.networks,
            )
        plan = ExperienceFormat.of(
            algorithm.data,
            algorithm.fields,
            spec.rollout.envs_per_replica,
            spaces,
            networks.core_size,
            spec.environment.info or (),
        )
        shipper = Shipper(
            experience,
            plan,
            actor_number(context.name),
            context.started,
            metrics,
            context.tracer(),
        )
        subscription = Subscription(weights)
        envs = spec.rollout.envs_per_replica
        columns = envs * spaces.agents
        first, total = context.index * columns, spec.rollout.replicas * columns
        discount, _ = recorded_discount(spec)
        collector = Collector(groups, networks, algorithm, plan.length, first, total, discount)
        bounds = BoundsCheck(spaces.observation, spaces.agents)
        Rollout(
            context, collector, bounds, networks, shipper, subscription, wire, metrics, health
        ).run()


class Rollout:
    """The loop of one rollout."""

    def __init__(
        self,
        context: RoleContext,
        collector: Collector,
        bounds: BoundsCheck,
        networks: ActingNetworks,
        shipper: Shipper,
        subscription: Subscription,
        wire: Wire,
        metrics: RolloutMetrics,
        health: Health,
    ) -> None:
        self._context = context
        self._collector = collector
        self._bounds = bounds
        self._networks = networks
        self._shipper = shipper
        self._subscription = subscription
        self._wire = wire
        self._metrics = metrics
        self._health = health
        self._stamp: Stamp = NOTHING
        self._serviced_at = 0.0
        self._reset_at: Stamp | None = None
        self._waited = [0.0, 0.0]
        self._broken = 0

    def run(self) -> None:
        """Collect and ship until asked to stop; then wait until the last segments are acknowledged and
        give back the remaining credit."""
        strict = self._context.job.spec.strict
        if not strict:
            self._collector.reset(self._context.random_seed)
        while not self._context.stopping():
            self._wait_until_ready()
            if self._context.stopping():
                break
            self._health.doing = "segment"
            if strict:
                self._reset_at_boundary()
            self._segment()
        self._drain(time.monotonic() + DRAIN_SECONDS)

    def _drain(self, deadline: float) -> None:
        while self._shipper.unacked and (now := time.monotonic()) < deadline:
            self._shipper.service(now)
            self._health.beat()
            if not self._shipper.connected(now):
                return
            self._wire.wait(WAIT)
        self._shipper.leave()

    def _segment(self) -> None:
        frame = self._shipper.frame()
        collector, seconds = self._collector, self._metrics.seconds
        before = collector.acting_seconds, collector.environment_seconds
        episodes = collector.collect(frame.arrays, self._between_steps)
        if (warning := self._bounds.warning(frame.arrays["observation"])) is not None:
            _LOG.warning(warning)
        shipped_at = time.monotonic()
        self._shipper.ship(frame, episodes, self._stamp, shipped_at)
        seconds["acting"].inc(collector.acting_seconds - before[0])
        seconds["environment"].inc(collector.environment_seconds - before[1])
        seconds["shipping"].inc(time.monotonic() - shipped_at)
        self._metrics.environment_steps.inc(int(frame.arrays["valid"].sum()))
        self._metrics.episodes.inc(len(episodes))

    def _wait_until_ready(self) -> None:
        before = time.monotonic()
        self._look_after(before)
        now = time.monotonic()
        self._metrics.seconds["shipping"].inc(now - before)
        while not self._shipper.ready(self._stamp, now) and not self._context.stopping():
            before, stage = now, "weights_wait" if self._shipper.credited else "credit_wait"
            self._health.doing = "weights" if self._shipper.credited else "credit"
            self._wire.wait(WORTH_WAITING if self._shipper.credited else WAIT)
            now = time.monotonic()
            # Set at once, so that a wait that never ends is visible.
            self._metrics.seconds[stage].inc(now - before)
            if stage == "credit_wait":
                self._waited[0] += now - before
            self._look_after(now)

    def _between_steps(self) -> None:
        now = time.monotonic()
        if now - self._serviced_at > SERVICE_EVERY:
            self._shipper.service(now)
            self._serviced_at = now
            self._health.beat()

    def _look_after(self, now: float) -> None:
        """Serve sockets and weights. Called between segments only: a segment has one policy version."""
        self._wire.renew()
        waited, since = self._waited
        if now - since > 1.0:
            self._shipper.waiting = min(1.0, waited / (now - since))
            self._waited = [0.0, now]
        self._shipper.service(now)
        self._serviced_at = now
        self._health.beat()
        self._health.waits_for = self._waits_for(now)
        self._renew(self._subscription.newest(now))
        self._subscription.ask(now)

    def _renew(self, payload: bytes | None) -> None:
        """Act with this policy version from now on; None changes nothing."""
        broken = self._subscription.rejected - self._broken
        if broken:
            self._broken += broken
            self._metrics.weights_rejected["digest"].inc(broken)
        if payload is None:
            return
        try:
            self._networks.load(policy.decode(payload))
        except RunError:
            self._metrics.weights_rejected["unreadable"].inc()
            raise
        self._stamp = self._subscription.stamp
        self._metrics.weights_applied.inc()
        self._metrics.policy_version.set(self._stamp[1])

    def _waits_for(self, now: float) -> str:
        if not self._shipper.connected(now):
            return "the buffer"
        return "" if self._stamp != NOTHING else "weights"

    def _reset_at_boundary(self) -> None:
        """In strict mode the learner marks versions at which a run can be resumed. Each of them begins
        new episodes with new random numbers, so that what follows does not depend on what came before."""
        boundary = int(self._networks.arrays.get(BOUNDARY, 0))
        # A restarted learner goes back to a boundary, so the lineage is compared as well.
        if (self._stamp[0], boundary) != self._reset_at:
            self._reset_at = (self._stamp[0], boundary)
            seed = (self._context.seed, self._context.index, boundary)
            seed_global_generators(seed)
            self._collector.reset(seed)
