"""Balances production and consumption: when rollouts may continue and when the learner must wait.

Pure. Everything is counted in segments or transitions; nothing is ever dropped to keep a bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rljob.wire.experience import ACTOR_WINDOW

PACE = 1
"""Policy versions that production runs ahead: one batch is collected while the last is trained on.
Running further ahead only makes experience older; the policy-lag bound is for stragglers."""


@dataclass
class OnPolicyLimiter:
    """Bounds the policy lag of segments that are each trained on once, in order.

    The segment at position `q` of the delivery to the learner is trained on at version
    `first_version + q // segments_per_batch`, for each batch makes one version. A segment that is
    granted now comes behind all that are stored or granted, so its lag is known before its first step,
    unless others overtake it meanwhile: what is too old when its turn comes is evicted and counted.

    Args:
        segments_per_batch: segments in one update.
        max_policy_lag: versions that a segment may be behind when it is trained on.
    """

    segments_per_batch: int
    max_policy_lag: int
    first_version: int = 0

    def trained_at(self, position: int) -> int:
        """The version that the segment at this position is trained on."""
        return self.first_version + position // self.segments_per_batch

    def room(self, position: int, stored: int, granted: int, version: int) -> int:
        """Segments that may be granted beyond those stored and granted.

        Args:
            position: of the next segment to be delivered.
            version: newest version that the learner has published.
        """
        ahead = min(PACE, self.max_policy_lag)
        horizon = (version - self.first_version + ahead + 1) * self.segments_per_batch
        return max(0, horizon - position - stored - granted)

    def oldest_useful(self, position: int) -> int:
        """The lowest version that the segment at this position may have been acted with."""
        return self.trained_at(position) - self.max_policy_lag


@dataclass
class ReplayLimiter:
    """Holds the ratio of sampled to inserted transitions in a band; a sequence counts as all of its rows.

    As in Reverb's SampleToInsertRatio (Cassirer et al. 2021, https://arxiv.org/abs/2102.04736): both
    sides are blocked at the band's edges, so rollouts and learner cannot outrun each other.

    Args:
        samples_per_insert: the ratio to hold.
        min_size: transitions to store before the first is sampled.
        chunk: transitions that one delivery samples.
        segment: transitions that one segment inserts, at most.
        strict: alternate: insert only when nothing may be sampled, so that a run can be repeated exactly.
    """

    samples_per_insert: float
    min_size: int
    chunk: int
    segment: int
    strict: bool = False

    @property
    def band(self) -> float:
        """Half the band's width, in samples: room for two deliveries or two segments."""
        if self.strict:
            return 0.0
        return 2 * max(self.chunk, self.samples_per_insert * self.segment)

    def _ahead(self, inserted: int, sampled: int) -> float:
        return (inserted - self.min_size) * self.samples_per_insert - sampled

    def may_sample(self, inserted: int, sampled: int, ready: bool = True) -> bool:
        """Whether the learner may have one more delivery of `chunk` transitions.

        Args:
            ready: whether anything that is stored can be drawn.
        """
        if inserted < self.min_size or not ready:
            return False
        return self._ahead(inserted, sampled) + self.band >= self.chunk

    def room(self, inserted: int, granted: int, sampled: int, ready: bool = True) -> int:
        """Segments that may be granted beyond those granted.

        Args:
            inserted: transitions stored so far.
            granted: segments granted and not yet stored.
            ready: whether anything that is stored can be drawn.
        """
        expected = inserted + granted * self.segment
        if self.strict:
            return 0 if granted or self.may_sample(inserted, sampled, ready) else 1
        if expected < self.min_size:
            return -(-(self.min_size - expected) // self.segment)
        slack = self.band - self._ahead(expected, sampled)
        room = max(0, int(slack / (self.samples_per_insert * self.segment)))
        # No sequence is whole, however much is stored: without more segments neither side could go on.
        return room if ready else max(room, 1 - granted)


def distribute(
    room: int, granted: Mapping[int, int], most: Mapping[int, int] | None = None
) -> dict[int, int]:
    """Share out segments to grant: always to the rollout that has the fewest, up to `ACTOR_WINDOW`.

    Args:
        granted: for each live rollout, the segments it has been granted and not delivered; of those with
            equally many, the first comes first.
        most: what some of them may have, where that is less than `ACTOR_WINDOW`.

    Returns:
        The additional segments for each rollout that gets any.
    """
    more: dict[int, int] = {}
    most = most or {}
    for fewest in range(ACTOR_WINDOW):
        for actor, has in granted.items():
            if room <= 0:
                return more
            if has <= fewest < most.get(actor, ACTOR_WINDOW):
                more[actor] = more.get(actor, 0) + 1
                room -= 1
    return more
