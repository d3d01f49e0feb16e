"""Which stage bounds the rate of a job that trains, from where its processes spend their time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rljob.diagnosis.probes import RoleProbe
from rljob.diagnosis.situation import Situation

BoundBy = Literal["rollouts", "applications", "learner", "lag", "publishing", "balanced", "unknown"]
WORDS = {
    "environment": "stepping environments",
    "acting": "choosing actions",
    "credit_wait": "waiting for credit",
    "weights_wait": "waiting for new weights",
    "shipping": "sending",
    "data_wait": "waiting for data",
    "update": "updating the policy",
    "publish": "publishing weights",
    "checkpoint": "saving checkpoints",
    "hooks": "in hooks",
}
MOST = 0.5
"""Share of time from which a stage is called the bound."""
MUCH = 0.2


@dataclass(frozen=True)
class Bottleneck:
    """What bounds the rate.

    Attributes:
        stage: the stage to look at, and `share` the share of time that it takes.
    """

    bound: BoundBy
    stage: str = ""
    share: float = 0.0


def stages(processes: Iterable[RoleProbe]) -> dict[str, float]:
    """Mean share of time of each stage over the processes of one role, the largest first."""
    found = [shares for one in processes if (shares := stage_shares(one))]
    names = {name for shares in found for name in shares}
    mean = {name: sum(each.get(name, 0.0) for each in found) / len(found) for name in names}
    return dict(sorted(mean.items(), key=lambda entry: -entry[1]))


def stage_shares(process: RoleProbe) -> dict[str, float]:
    """Share of time of each stage of one process."""
    return process.samples.shares(f"rljob_{process.role}_stage_seconds_total", "stage")


def bottleneck(situation: Situation) -> Bottleneck:
    """What bounds the rate of a job in training."""
    learner = stages(situation.of_role("learner"))
    rollout = stages(situation.of_role("rollout"))
    if learner and situation.fed_by_applications_alone and learner.get("data_wait", 0.0) >= MOST:
        return Bottleneck("applications", "data_wait", learner["data_wait"])
    if not learner or not rollout:
        return Bottleneck("unknown")
    if learner.get("data_wait", 0.0) >= MOST:
        if rollout.get("weights_wait", 0.0) >= MUCH:
            return Bottleneck("lag", "weights_wait", rollout["weights_wait"])
        work = {name: rollout.get(name, 0.0) for name in ("environment", "acting", "shipping")}
        stage = max(work, key=lambda name: work[name])
        return Bottleneck("rollouts", stage, work[stage])
    for stage in ("publish", "checkpoint", "hooks"):
        if learner.get(stage, 0.0) >= MUCH:
            return Bottleneck("publishing", stage, learner[stage])
    waits = rollout.get("credit_wait", 0.0) + rollout.get("weights_wait", 0.0)
    if waits >= MUCH:
        return Bottleneck("learner", "update", learner.get("update", 0.0))
    return Bottleneck("balanced", "update", learner.get("update", 0.0))
