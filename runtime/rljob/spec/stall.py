"""Settings for stalled jobs: jobs that run without progress."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rljob.spec.duration import Duration
from rljob.spec.schema import Section

StallPolicy = Literal["Restart", "Fail", "Ignore"]


class StallSpec(Section):
    """When a job counts as stalled, and what happens then."""

    timeout: Duration = Field(
        default=Duration("3m"),
        description="Time without a new environment step or update after which the job counts as stalled. "
        "The cause is then reported, with the stack of the hanging process. Set it longer than the "
        "slowest reset, episode segment or update.",
    )
    start_timeout: Duration | None = Field(
        default=None,
        description="Time for the first environment step; 10m by default, or `timeout` if that is longer. When no "
        "environment has answered by then, the job fails, unless `policy` is `Restart`. Set it longer than the "
        "slowest start of an environment with its first reset.",
    )
    policy: StallPolicy = Field(
        default="Ignore",
        description="Action for a stalled job, in addition to the report: `Restart` replaces the role that "
        "is stuck, `Fail` ends the job, `Ignore` does nothing.",
    )
