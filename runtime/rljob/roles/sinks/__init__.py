"""Where a run's records go beside its own folder: TensorBoard, MLflow, Weights & Biases.

Each sink is a process of its own, which follows what the learner writes into the run's folder: whatever it
costs and however it fails, the learner does not wait for it.

children     the learner's side: start them, hear of their failures, let them finish
process      the process of one
following    new lines of a run's files, from where the last life of the process came to
scalars      lines to numbers; pure
tensorboard, mlflow, wandb   one sink each
"""

from __future__ import annotations

import importlib.util

from rljob.errors import InputError
from rljob.spec.sinks import SinkName, SinksSpec

MODULES: dict[SinkName, str] = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}


def check(sinks: SinksSpec) -> None:
    """Whether what they write with is installed; nothing is imported.

    Raises:
        InputError: it is not.
    """
    for name in sinks.wanted:
        if importlib.util.find_spec(MODULES[name]) is None:
            raise InputError(
                f"needs {MODULES[name]}, which is not installed: pip install 'rljob[{name}]'",
                path=f"sinks.{name}",
            )
