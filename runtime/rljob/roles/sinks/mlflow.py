"""The MLflow sink."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

# Disables MLflow's usage telemetry.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# The sink's process does the retries and reports failures.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus
from mlflow.exceptions import MlflowException

from rljob.roles.sinks.base import Opening
from rljob.roles.sinks.scalars import ScalarPoint
from rljob.spec.sinks import MlflowSink

MOST_METRICS, MOST_PARAMETERS, LONGEST_PARAMETER, LONGEST_NAME = 1000, 100, 6000, 200
"""MLflow's limits of one request; the last is below its own, 250, for those that are numbered."""
_UNSAFE = re.compile(r"[^\w./ -]")
STORE, FILES = "mlflow.db", "mlflow-files"
_STATUS = {"Complete": "FINISHED", "Stopped": "KILLED"}


def cleaned(name: str) -> str:
    """A name that MLflow takes for a metric or a parameter; it refuses all that come with another one.

    Names are an algorithm's own or those of keyword arguments, and may be anything.
    """
    parts = _UNSAFE.sub("_", name)[:LONGEST_NAME].split("/")
    return "/".join(part for part in parts if part not in ("", ".", "..")) or "_"


class Mlflow:
    """Writes to a server, or to a file in the run's folder, which then becomes the working folder of this process."""

    def __init__(self, opening: Opening, sink: MlflowSink) -> None:
        self._files: str | None = None
        given = sink.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        if not given:
            # A URI has no way to name every folder: `?` begins its options. So the file is named from where it is.
            os.chdir(opening.folder)
            self._files = Path(FILES).absolute().as_uri()
            if not Path(STORE).exists():
                _make_store(Path(STORE))
        self._client = MlflowClient(tracking_uri=given or f"sqlite:///{STORE}")
        self.run = opening.run or self._new(opening, sink.experiment)
        if opening.run:
            self._client.update_run(self.run, RunStatus.to_string(RunStatus.RUNNING))

    def add(self, points: Sequence[ScalarPoint]) -> None:
        metrics = [
            Metric(cleaned(name), value, int(1000 * point.time), point.step)
            for point in points
            for name, value in point.values.items()
        ]
        for start in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self.run, metrics=metrics[start : start + MOST_METRICS])

    def checkpoint(self, path: Path) -> None:
        """Replaces the one before."""
        self._client.log_artifact(self.run, str(path))

    def page(self, path: Path) -> None:
        self._client.log_artifact(self.run, str(path))

    def finish(self, result: Mapping[str, Any]) -> None:
        for name, value in result.items():
            self._client.set_tag(self.run, f"rljob.{name}", str(value))
        status = _STATUS.get(str(result.get("outcome")), "FAILED")
        self._client.set_terminated(self.run, status)

    def close(self) -> None:
        """Does nothing: everything is already written."""

    def _new(self, opening: Opening, experiment: str) -> str:
        run = str(
            self._client.create_run(self._experiment(experiment), run_name=opening.name).info.run_id
        )
        values: dict[str, str] = {}
        for name, value in opening.settings.items():
            known = cleaned(name)
            while known in values:
                known += "_"
            values[known] = value[:LONGEST_PARAMETER]
        parameters = [Param(name, value) for name, value in values.items()]
        try:
            for start in range(0, len(parameters), MOST_PARAMETERS):
                self._client.log_batch(run, params=parameters[start : start + MOST_PARAMETERS])
        except Exception:
            # The next attempt makes another one.
            with suppress(Exception):
                self._client.delete_run(run)
            raise
        return run

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name, artifact_location=self._files))
        except MlflowException:
            # Another run has created it meanwhile.
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)


def _make_store(path: Path) -> None:
    """Make MLflow's tables in a file beside `path`, and rename it.

    It takes many seconds on a slow machine and may be killed at any moment: MLflow cannot open a store
    whose making was broken off.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    MlflowClient(tracking_uri=f"sqlite:///{unfinished}").search_experiments(max_results=1)
    unfinished.replace(path)
