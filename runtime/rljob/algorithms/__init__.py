"""Algorithms by name or by import path, and their settings checked; nothing here imports torch.

Each name below is loaded when it is first used: a policy that only acts needs none of the settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rljob.algorithms.registry import (
        BUILT_IN,
        EXAMPLES,
        fitting,
        load_config,
        make_algorithm,
        needs_torch,
        networks_of,
        remembering,
        resolve_algorithm,
        uses_torch,
    )

__all__ = [
    "BUILT_IN",
    "EXAMPLES",
    "fitting",
    "load_config",
    "make_algorithm",
    "needs_torch",
    "networks_of",
    "remembering",
    "resolve_algorithm",
    "uses_torch",
]


def __getattr__(name: str) -> Any:
    # PEP 562: called once per name.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.registry"), name)
    return value
