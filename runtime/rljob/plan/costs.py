"""What the parts of one job cost on one machine, in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """One piece of work of one process.

    Attributes:
        cpu: processor seconds of all its threads.
        seconds: duration when every thread has a core. More than `cpu` for work that sleeps, less for work
            of several threads.
    """

    cpu: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.cpu + other.cpu, self.seconds + other.seconds)

    def __mul__(self, count: float) -> Work:
        return Work(self.cpu * count, self.seconds * count)


@dataclass(frozen=True)
class Costs:
    """Costs of one job. A segment is what a rollout sends at a time; a version is one published policy.

    Attributes:
        length: steps of each environment in a segment; `envs` environments of a rollout.
        segment_steps: environment steps in a segment. Steps that only reset an environment do not count.
        on_policy: whether each segment is trained on once.
        alternating: whether collecting and training take turns, as in strict mode.
        segments_per_version: segments that are trained on (with replay: stored) for one version. 0: one of each
            rollout.
        updates_per_version: updates of the learner.
        collecting: a rollout collects a segment; `stepping_share` and `acting_share` of the time.
        sending, loading: a rollout sends a segment, and loads a version.
        buffering: the buffer stores a segment and hands experience on, with the sockets' threads of all roles.
        receiving: the learner takes a segment or, with replay, the samples for one version.
        update, update_per_segment: one update; its duration grows with the number of segments in the batch.
        publishing, publishing_per_rollout: the learner makes a version, and sends it to each rollout.
    """

    length: int
    envs: int
    segment_steps: float
    on_policy: bool
    alternating: bool
    segments_per_version: float
    updates_per_version: int
    collecting: Work
    stepping_share: float
    acting_share: float
    sending: Work
    loading: Work
    buffering: Work
    receiving: Work
    update: Work
    update_per_segment: Work
    publishing: Work
    publishing_per_rollout: Work
