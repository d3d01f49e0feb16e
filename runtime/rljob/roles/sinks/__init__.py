"""Sinks write a run's records to TensorBoard, MLflow and Weights & Biases.

Each sink is a separate process that follows the files that the learner writes into the run's folder. The
learner never waits for a sink, even if it is slow or fails.

children     the learner's side: starts sinks, reports their failures, lets them finish
process      the process of one sink
following    reads new lines of a run's files, from the position of the process' last life
scalars      lines to numbers; pure
artifacts    checkpoints and the report's page, for sinks that store files
tensorboard, mlflow, wandb   one sink each
"""

from __future__ import annotations

import importlib.util

from rljob.errors import InputError
from rljob.spec.sinks import SinkName, SinksSpec

MODULES: dict[SinkName, str] = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}


def check(sinks: SinksSpec) -> None:
    """Check that the sinks' packages are installed; imports nothing.

    Raises:
        InputError: a package is missing.
    """
    for name in sinks.wanted:
        if importlib.util.find_spec(MODULES[name]) is None:
            raise InputError(
                f"needs {MODULES[name]}, which is not installed: pip install 'rljob[{name}]'",
                path=f"sinks.{name}",
            )
