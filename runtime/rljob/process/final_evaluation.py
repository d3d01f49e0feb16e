"""The evaluation of the final policy: `rljob eval` in a process of its own, and what its result means for the job.

On one machine the run plays it when all roles have ended; on a cluster the learner, before it ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rljob.spec import RLJobSpec

KNOWN = ("mean", "std", "min", "max", "episodes", "cutOff", "policyVersion")
"""What a result keeps of it."""
BELOW, MISSING = "BelowBaseline", "NotEvaluated"
"""Reasons for which a job with `evaluation.baseline` fails."""


@dataclass(frozen=True)
class Shortfall:
    """Why a job fails whose training completed.

    Attributes:
        reason: in one word.
        message: the baseline, and what was reached.
    """

    reason: str
    message: str


def command(spec: RLJobSpec, folder: Path, result: Path) -> list[str]:
    """Arguments of `rljob`: play the newest policy in `folder`, and write the numbers to `result`."""
    assert spec.evaluation is not None
    episodes, seed = str(spec.evaluation.episodes), str((spec.seed or 0) % 2**32)
    return [
        "eval",
        str(folder),
        "--episodes",
        episodes,
        "--result-file",
        str(result),
        "--seed",
        seed,
    ]


def kept(played: Mapping[str, Any]) -> dict[str, Any]:
    """What a result keeps of the numbers that `rljob eval` wrote."""
    return {name: played[name] for name in KNOWN if name in played}


def shortfall(spec: RLJobSpec, played: Mapping[str, Any] | None) -> Shortfall | None:
    """Why the job fails; None where it has no baseline, or reached it.

    Args:
        played: numbers of the evaluation; None when there are none.
    """
    baseline = spec.evaluation.baseline if spec.evaluation is not None else None
    if baseline is None:
        return None
    if played is None:
        message = f"the final policy was not evaluated, so evaluation.baseline {baseline:g} is not known to be reached"
        return Shortfall(MISSING, message)
    if played["mean"] >= baseline:
        return None
    return Shortfall(
        BELOW,
        f"evaluation.baseline {baseline:g} was not reached: the mean return of {played['episodes']} greedy episodes of "
        f"the final policy is {played['mean']:.6g}",
    )
