"""Networks: one description, a numpy engine for acting, a torch module for learning.

Nothing here imports torch until a torch network is asked for. Each name below is loaded when it is first used: a policy
that only acts needs none of the settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rljob.nets.building import build_acting, build_networks, export
    from rljob.nets.choice import BUILT_IN, resolve_network

__all__ = ["BUILT_IN", "build_acting", "build_networks", "export", "resolve_network"]
_MODULES = {"BUILT_IN": "choice", "resolve_network": "choice"}


def __getattr__(name: str) -> Any:
    # PEP 562: called once per name.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f"{__name__}.{_MODULES.get(name, 'building')}")
    value = globals()[name] = getattr(module, name)
    return value
