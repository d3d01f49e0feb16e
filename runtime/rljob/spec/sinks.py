"""Sinks: destinations of a job's records in addition to its folder."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import ConfigDict, Field, model_validator

from rljob.spec.cel import rule, rules
from rljob.spec.invalid import refuse
from rljob.spec.schema import Section

SinkName = Literal["tensorboard", "mlflow", "wandb"]
SINKS: tuple[SinkName, ...] = get_args(SinkName)
_NO_CREDENTIALS = (
    "contains credentials, which are not allowed in a job; set MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in the learner's environment"
)


class TensorBoardSink(Section):
    """Event files in the run's folder, below `tensorboard`."""


class MlflowSink(Section):
    """An MLflow run."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.trackingUri) || !self.trackingUri.contains('@')",
                _NO_CREDENTIALS,
                at="trackingUri",
            )
        )
    )

    tracking_uri: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="Server or store, e.g. `http://mlflow:5000` or `sqlite:////data/mlflow.db`. When "
        "absent: $MLFLOW_TRACKING_URI of the learner, else mlflow.db in the run's folder.",
    )
    experiment: str = Field(
        default="rljob", min_length=1, max_length=256, description="Name of the experiment."
    )
    artifacts: bool | None = Field(
        default=None,
        description="`false`: no checkpoints and no report are stored. Otherwise the newest checkpoint is stored every 10 "
        "minutes at most and at the end, and the report's page at the end.",
    )

    @model_validator(mode="after")
    def _without_credentials(self) -> MlflowSink:
        if "@" in (self.tracking_uri or ""):
            raise refuse({"trackingUri": _NO_CREDENTIALS})
        return self


class WandbSink(Section):
    """A Weights & Biases run."""

    project: str = Field(
        default="rljob", min_length=1, max_length=128, description="Name of the project."
    )
    entity: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        description="User or team that owns the run; your default entity when absent.",
    )
    mode: Literal["online", "offline"] = Field(
        default="online",
        description="`offline` writes below `wandb` in the run's folder, for `wandb sync`; `online` "
        "needs $WANDB_API_KEY in the learner.",
    )
    artifacts: bool | None = Field(
        default=None,
        description="`false`: no checkpoints and no report are stored. Otherwise the newest checkpoint is stored every 10 "
        "minutes at most and at the end, offline at the end alone, and the report's page at the end.",
    )


class SinksSpec(Section):
    """Destinations of a job's records in addition to its folder."""

    tensorboard: TensorBoardSink | None = Field(
        default=None, description="TensorBoard event files; `{}` enables them."
    )
    mlflow: MlflowSink | None = Field(
        default=None, description="MLflow, e.g. `{experiment: pole}`."
    )
    wandb: WandbSink | None = Field(
        default=None, description="Weights & Biases, e.g. `{project: pole, mode: offline}`."
    )

    @property
    def wanted(self) -> list[SinkName]:
        """Names of the configured sinks."""
        return [name for name in SINKS if getattr(self, name) is not None]
