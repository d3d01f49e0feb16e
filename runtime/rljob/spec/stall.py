"""The section that says what to do about a job that runs and gets nowhere."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rljob.spec.duration import Duration
from rljob.spec.schema import Section

StallPolicy = Literal["Restart", "Fail", "Ignore"]


class StallSpec(Section):
    """When a job counts as stalled, and what follows."""

    timeout: Duration = Field(
        default=Duration("3m"),
        description="Time without a new environment step or update after which the job is stalled: "
        "what holds it up is looked for, with the stack of the process that hangs. Longer than the "
        "slowest reset, episode segment or update.",
    )
    policy: StallPolicy = Field(
        default="Ignore",
        description="What follows, beside the word of it: `Restart` replaces the role that is stuck, "
        "`Fail` ends the job, `Ignore` does nothing.",
    )
