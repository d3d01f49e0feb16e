"""The acting side of each built-in network, by its name in a job. Neither torch nor the models of settings are imported."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from rljob.nets.acting import Engine

ENGINES = {
    "mlp": ("rljob.nets.mlp", "MLPEngine"),
    "cnn": ("rljob.nets.cnn", "CNNEngine"),
    "gru": ("rljob.nets.recurrent", "GRUEngine"),
    "lstm": ("rljob.nets.recurrent", "LSTMEngine"),
    "candidates": ("rljob.nets.candidates", "CandidatesEngine"),
}
"""Module and class."""


def engine_of(name: str) -> Callable[..., Engine]:
    """The class of the engine of a built-in network; KeyError for a name that is none."""
    module, kind = ENGINES[name]
    found: Callable[..., Engine] = getattr(import_module(module), kind)
    return found
