"""Where a job's weights come from at the start: `initFrom`."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, model_validator

from rljob.spec.cel import rule, rules
from rljob.spec.invalid import refuse
from rljob.spec.schema import OPERATOR_ONLY, Section
from rljob.spec.sections import PersistentVolumeClaim

_IN_CLAIM = (
    "is not allowed with persistentVolumeClaim; a folder in the claim, without / at its start"
)
_STORED = ("runs:/", "wandb:")
_IS_STORED = " || ".join(f"self.run.startsWith('{each}')" for each in _STORED)
NetworkName = Annotated[str, Field(min_length=1, max_length=63)]


class InitFromSpec(Section):
    """The weights that the learner starts with: those of another run."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                f"!has(self.persistentVolumeClaim) || !(self.run.startsWith('/') || {_IS_STORED})",
                _IN_CLAIM,
                at="run",
            ),
            # Only on a cluster: on one machine a relative path has a meaning.
            rule(
                f"has(self.persistentVolumeClaim) || self.run.startsWith('/') || {_IS_STORED}",
                "is not allowed on a cluster; a folder of the learner's container on a volume that learner.template "
                "mounts, with / at its start, or a folder in persistentVolumeClaim",
                at="run",
            ),
        )
    )

    run: str = Field(
        min_length=1,
        max_length=4096,
        pattern=r"^[^\x00]+$",
        examples=["runs/cartpole-ppo-1"],
        description="Folder of a run, of its checkpoints or of one checkpoint; of several, the newest complete one is "
        "taken. On a cluster: a folder in `persistentVolumeClaim`, or of the learner's container. Also what a sink stored: "
        "`runs:/RUN_ID` of MLflow, `wandb:ENTITY/PROJECT/checkpoint-RUN:VERSION` of Weights & Biases.",
    )
    networks: list[NetworkName] | None = Field(
        default=None,
        min_length=1,
        max_length=16,
        examples=[["policy"]],
        description="Networks that get their weights from there, by name; all when absent. `rljob algorithms NAME` lists the names.",
    )
    persistent_volume_claim: PersistentVolumeClaim | None = Field(
        default=None,
        description="An existing volume claim with that folder, mounted read-only in the learner; only on a cluster. In a claim "
        "that jobs share, a job's folder has its name; in one made for a job, it is `.`.",
        json_schema_extra=OPERATOR_ONLY,
    )

    @model_validator(mode="after")
    def _below_the_claim(self) -> InitFromSpec:
        if self.persistent_volume_claim is not None and self.run.startswith(("/", *_STORED)):
            raise refuse({"run": f'"{self.run}" {_IN_CLAIM}'})
        return self
