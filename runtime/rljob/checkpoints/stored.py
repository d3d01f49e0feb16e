"""Fetches checkpoints that sinks stored: `runs:/ID` of MLflow, `wandb:ENTITY/PROJECT/NAME:VERSION` of W&B.

The file is that of `rljob.checkpoints.archive`. It is not trusted, and verified as any checkpoint is.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from rljob.checkpoints.unpack import unpack
from rljob.errors import InputError, RunError

MLFLOW, WANDB = "runs:/", "wandb:"
FILE = "checkpoint.tar"
TRACKING = "MLFLOW_TRACKING_URI"
_MLFLOW = re.compile(rf"runs:/([A-Za-z0-9_-]+)(?:/(?:{re.escape(FILE)})?)?")
_WANDB = re.compile(r"wandb:((?:[^/:]+/){1,2}[^/:]+:[^/:]+)")
_PART = 2**20


def is_stored(run: str) -> bool:
    """Whether a text names a stored checkpoint, and no folder."""
    return run.startswith((MLFLOW, WANDB))


def check_stored(run: str) -> None:
    """Check the form, and that the package is installed; imports nothing and asks nobody.

    Raises:
        InputError: without a path.
    """
    if run.startswith(MLFLOW) and _MLFLOW.fullmatch(run) is None:
        raise InputError(f"{run} is not the checkpoint of an MLflow run; expected runs:/RUN_ID")
    if run.startswith(WANDB) and _WANDB.fullmatch(run) is None:
        raise InputError(
            f"{run} is not an artifact of Weights & Biases; expected wandb:ENTITY/PROJECT/NAME:VERSION"
        )
    package = "mlflow" if run.startswith(MLFLOW) else "wandb"
    if importlib.util.find_spec(package) is None:
        raise InputError(
            f"{run} needs {package}, which is not installed: pip install 'rljob[{package}]'"
        )


def fetch(run: str, folder: Path, tracking: str | None = None) -> None:
    """Make `folder` a run's folder with the stored checkpoint, verified.

    Args:
        tracking: server or store of MLflow; None takes $MLFLOW_TRACKING_URI.

    Raises:
        InputError: without a path; there is none, it is damaged, or it is something else.
    """
    check_stored(run)
    with TemporaryDirectory(prefix="rljob-fetched-") as place:
        try:
            if run.startswith(MLFLOW):
                path = _from_mlflow(run, place, tracking)
            else:
                path = _from_wandb(run, place)
        except InputError:
            raise
        except Exception as error:  # Libraries may raise anything.
            lines = str(error).strip().splitlines() or [""]
            text = f"{type(error).__name__}: {lines[0][:300]}"
            raise InputError(f"{run} cannot be fetched: {text}") from error
        if not path.is_file():
            raise InputError(f"{run} has no {FILE}; only a sink of rljob stores it")
        try:
            unpack(_parts(path), folder)
        except (RunError, OSError) as error:
            raise InputError(f"{run} is not a whole checkpoint: {error}") from error


def _from_mlflow(run: str, place: str, tracking: str | None) -> Path:
    uri = tracking or os.environ.get(TRACKING)
    if not uri:
        raise InputError(f"{run} needs MLflow's server; set {TRACKING} or sinks.mlflow.trackingUri")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # By itself it asks a server that does not answer for a quarter of an hour; a learner that is silent so long is replaced.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    from mlflow import MlflowClient

    match = _MLFLOW.fullmatch(run)
    assert match is not None
    client = MlflowClient(tracking_uri=uri)
    if FILE not in {each.path for each in client.list_artifacts(match[1])}:
        raise InputError(f"{run} has no {FILE}; only a sink of rljob stores it")
    return Path(client.download_artifacts(match[1], FILE, place))


def _from_wandb(run: str, place: str) -> Path:
    import wandb

    match = _WANDB.fullmatch(run)
    assert match is not None
    return Path(wandb.Api().artifact(match[1]).download(root=place, skip_cache=True), FILE)


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(_PART):
            yield part
