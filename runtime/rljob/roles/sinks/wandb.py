"""The Weights & Biases sink."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from rljob.roles.sinks.base import Opening
from rljob.roles.sinks.scalars import ScalarPoint
from rljob.spec.sinks import WandbSink

STEPS = "steps"


class Wandb:
    """Writes to the service, or offline below `wandb` in the run's folder."""

    def __init__(self, opening: Opening, sink: WandbSink) -> None:
        self.run = opening.run or uuid.uuid4().hex[:12]
        self._code = 0
        folder = opening.folder.resolve()
        for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
            os.environ.setdefault(name, str(folder / "wandb" / name.split("_")[1].lower()))
        self._run = wandb.init(
            id=self.run,
            resume="allow",
            project=sink.project,
            entity=sink.entity,
            name=opening.name,
            mode=sink.mode,
            dir=folder,
            config=dict(opening.settings),
            settings=wandb.Settings(
                console="off", disable_git=True, save_code=False, silent=True, x_disable_stats=True
            ),
        )
        # Steps decrease when a learner resumes from a checkpoint; W&B's own step must not.
        self._run.define_metric(STEPS)
        self._run.define_metric("*", step_metric=STEPS)

    def add(self, points: Sequence[ScalarPoint]) -> None:
        for point in points:
            self._run.log({STEPS: point.step, "_timestamp": point.time, **point.values})

    def checkpoint(self, path: Path) -> None:
        """Another version of the artifact `checkpoint-RUN`."""
        self._store("checkpoint", "model", path)

    def page(self, path: Path) -> None:
        """A version of the artifact `report-RUN`."""
        self._store("report", "report", path)

    def _store(self, name: str, kind: str, path: Path) -> None:
        artifact = wandb.Artifact(f"{name}-{self.run}", type=kind)
        # Otherwise each version stays in a cache beside the run after it was sent.
        artifact.add_file(str(path), name=path.name, skip_cache=True)
        self._run.log_artifact(artifact)

    def finish(self, result: Mapping[str, Any]) -> None:
        for name, value in result.items():
            self._run.summary[name] = value
        self._code = int(result.get("outcome") == "Failed")

    def close(self) -> None:
        """Wait until all was sent, and mark the run as ended."""
        self._run.finish(exit_code=self._code)
