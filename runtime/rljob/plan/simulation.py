"""A job, played in simulated time from what its parts cost. Pure.

Rollouts, buffer and learner do what the real ones do, one thing at a time each; credit is given by the
limiters that the buffer itself uses, so their rules need not be told twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from rljob.plan.machine import Machine, Server, Then
from rljob.plan.measured import Costs, OnPolicyUse, Work
from rljob.plan.pace import OnPolicyPace, ReplayPace
from rljob.roles.buffer.limiter import distribute
from rljob.roles.learner.publish_schedule import Publication
from rljob.roles.rollout.ship import WORTH_WAITING

PIECES = 32
"""Parts of a segment, at most, between which environments that wait leave the cores to others."""
GOLDEN = 0.618034
"""Its multiples fall evenly into every interval, whatever their number."""


@dataclass
class Rollout:
    """What one rollout knows, and what the buffer knows of it.

    Attributes:
        granted, begun, arrived: segments, absolute; `allowed` is what it has heard of `granted`.
        stamp: version that it acts with; `newest` is what it has heard of, at `heard`.
        turn: when it was last granted something.
    """

    process: Server
    granted: int = 0
    allowed: int = 0
    begun: int = 0
    arrived: int = 0
    stamp: int = 0
    newest: int = 0
    heard: float = 0.0
    turn: int = 0
    working: bool = False


@dataclass(frozen=True)
class Counts:
    """What has happened up to a moment; the difference of two is what happened between them."""

    seconds: float
    core_seconds: float
    steps: float
    updates: int
    versions: int
    segments: int
    learner_busy: float
    rollout_busy: float
    buffer_busy: float


class Job:
    """One job at work.

    Args:
        cores: of the machine that all processes share; None where each has its own.
        buffers: shards; each serves its part of the rollouts. More than one exists in simulation only.

    Attributes:
        version: of the policy, so far; `segments` stored.
        active: rollouts that have credit at a time, at most.
        lags: versions that each segment was behind when it was trained on, in order.
    """

    def __init__(self, costs: Costs, rollouts: int, cores: float | None, buffers: int = 1) -> None:
        self._costs = costs
        self.machine = Machine(cores)
        self._rollouts = [Rollout(Server(self.machine)) for _ in range(rollouts)]
        self._buffers = [Server(self.machine) for _ in range(buffers)]
        self._learner = Server(self.machine)
        self._batch = costs.segments_per_batch(rollouts)
        self._pieces = 1 if cores is None or costs.stepping.wait == 0 else min(PIECES, costs.length)
        self._begun = 0
        self._pace: OnPolicyPace | ReplayPace = (
            OnPolicyPace(costs.use, self._batch, costs.strict)
            if isinstance(costs.use, OnPolicyUse)
            else ReplayPace(costs.use, costs.steps, costs.strict)
        )
        self.active = min(rollouts, self._pace.in_flight)
        self._turns = self._outstanding = 0
        self.version = self._known = self._available = 0
        self._publication = Publication(awaited=costs.on_policy)
        self._stored: deque[int] = deque()
        self._position, self._limit = 0, self._pulled(0)
        self._held: list[int] = []
        self._training = False
        self.lags: list[int] = []
        self._steps = 0.0
        self._updates = self.segments = 0
        self._grant()

    def counts(self) -> Counts:
        now = self.machine.now
        return Counts(
            now,
            self.machine.used,
            self._steps,
            self._updates,
            self.version,
            self.segments,
            self._learner.busy_until(now),
            sum(one.process.busy_until(now) for one in self._rollouts),
            sum(one.busy_until(now) for one in self._buffers),
        )

    def _pulled(self, done: int) -> int:
        """Position up to which the learner asks, when it is done with what is below `done`."""
        return done + (1 if self._costs.strict else 2) * self._batch

    # -- rollouts ------------------------------------------------------------------------------

    def _go_on(self, index: int) -> None:
        """Whatever a rollout may do next that does nothing: load a newer policy, or collect a segment."""
        one, now = self._rollouts[index], self.machine.now
        if one.working:
            return
        if one.stamp < self._available:
            one.stamp, one.working = self._available, True
            one.process.do(self._costs.applying, lambda: self._rest(index))
            return
        late = one.heard + WORTH_WAITING - now
        if one.begun < one.allowed and one.stamp < one.newest and late > 1e-9:
            self.machine.after(late, lambda: self._go_on(index))
        elif one.begun < one.allowed:
            one.begun, one.working = one.begun + 1, True
            for piece in self._segment():
                one.process.do(piece, _nothing)
            one.process.do(self._costs.shipping, lambda: self._ship(index))

    def _segment(self) -> Iterator[Work]:
        """Collecting one, in pieces of waiting and computing.

        Rollouts that begin together fall out of step soon, for each has to wait for the cores a little
        longer than the one before: so here each begins at a moment of its own in its first piece.
        """
        costs, pieces = self._costs, self._pieces
        cpu, width = costs.collecting.cpu / pieces, costs.collecting.width
        wait = costs.collecting.wait / pieces
        self._begun += 1
        begin = self._begun * GOLDEN % 1.0 if pieces > 1 else 1.0
        yield Work(cpu=cpu, wait=wait * begin, width=width)
        for _ in range(pieces - 1):
            yield Work(cpu=cpu, wait=wait, width=width)
        yield Work(cpu=0.0, wait=wait * (1 - begin))

    def _rest(self, index: int) -> None:
        self._rollouts[index].working = False
        self._go_on(index)

    def _ship(self, index: int) -> None:
        one, costs = self._rollouts[index], self._costs
        version = one.stamp

        def at_buffer() -> None:
            self._buffer(index).do(costs.storing, lambda: self._store(index, version))

        carry = Work(cpu=costs.carrying.cpu, wait=costs.carrying.wait + costs.hop)
        self.machine.work(carry, at_buffer)
        self._rest(index)

    # -- buffer --------------------------------------------------------------------------------

    def _buffer(self, index: int) -> Server:
        return self._buffers[index % len(self._buffers)]

    def _store(self, index: int, version: int) -> None:
        self._rollouts[index].arrived += 1
        self._outstanding -= 1
        self.segments += 1
        self._pace.inserted(self._costs.steps * self._costs.valid)
        if not self._costs.on_policy:
            self._steps += self._costs.steps * self._costs.valid
        self._stored.append(version)
        self._deliver()
        self._grant()
        self._tell(index)

    def _deliver(self) -> None:
        while self._position < self._limit and self._pace.may_deliver(len(self._stored)):
            self._pace.delivered()
            version = self._stored.popleft() if self._costs.on_policy else self._known
            shard = self._buffer(self._position)
            self._position += 1
            shard.do(self._costs.delivering, self._later(partial(self._take, version)))

    def _grant(self) -> None:
        stored = len(self._stored) if self._costs.on_policy else 0
        room = self._pace.room(self._position, stored, self._outstanding, self._known)
        if room <= 0:
            return
        waiting = sorted(range(len(self._rollouts)), key=lambda i: self._rollouts[i].turn)
        has = {i: self._rollouts[i].granted - self._rollouts[i].arrived for i in waiting}
        for index, more in distribute(room, has).items():
            one = self._rollouts[index]
            self._turns += 1
            self._outstanding += more
            one.granted, one.turn = one.granted + more, self._turns
            self._tell(index)

    def _tell(self, index: int) -> None:
        one, version = self._rollouts[index], self._known
        granted = one.granted

        def heard() -> None:
            one.allowed = max(one.allowed, granted)
            if version > one.newest:
                one.newest, one.heard = version, self.machine.now
            self._go_on(index)

        self.machine.after(self._costs.hop, heard)

    # -- learner -------------------------------------------------------------------------------

    def _take(self, version: int) -> None:
        self._held.append(version)
        self._train()

    def _train(self) -> None:
        if self._training or len(self._held) < self._batch:
            return
        self._training = True
        costs, batch = self._costs, self._batch
        versions, self._held = self._held[:batch], self._held[batch:]
        self.lags.extend(self.version - version for version in versions)
        updates = 1 if isinstance(costs.use, OnPolicyUse) else costs.use.updates_per_publish
        self._learner.do(costs.receiving.times(batch), _nothing)
        self._learner.do(
            costs.updating.of(batch).times(updates), lambda: self._updated(updates, batch)
        )

    def _updated(self, updates: int, batch: int) -> None:
        # That it also publishes when it has to wait costs only time it has.
        if not self._publication.due(self.version + 1, self.machine.now):
            self._trained(updates, batch)
            return
        self._publication.sent(self.version + 1, self.machine.now)
        publishing = self._costs.publishing.of(len(self._rollouts))
        self._learner.do(publishing, lambda: self._trained(updates, batch))

    def _trained(self, updates: int, batch: int) -> None:
        self._training = False
        self.version += 1
        self._updates += updates
        if self._costs.on_policy:
            self._steps += batch * self._costs.steps * self._costs.valid
        version = self.version
        self.machine.after(self._costs.hop, lambda: self._published(version))
        self._train()

    def _published(self, version: int) -> None:
        """The new version has come to the rollouts, and the learner's request to the buffer."""
        self._available = self._known = version
        self._limit = max(self._limit, self._pulled(version * self._batch))
        self._deliver()
        self._grant()
        for index in range(len(self._rollouts)):
            self._go_on(index)

    def _later(self, then: Then) -> Then:
        return lambda: self.machine.after(self._costs.hop, then)


def _nothing() -> None: ...
