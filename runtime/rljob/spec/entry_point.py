"""Import paths in an RLJob: `package.module:attribute`."""

from __future__ import annotations

import importlib
from typing import Any

from rljob.errors import InputError
from rljob.spec.invalid import nearest


def load_entry_point(entry_point: str, path: str) -> Any:
    """What an import path names.

    Args:
        entry_point: `package.module:attribute`.
        path: the field that holds it, for messages, e.g. `algorithm.entryPoint`.

    Raises:
        InputError: when the module cannot be imported or has no such attribute.
    """
    module_name, _, attribute = entry_point.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{entry_point}: cannot import {module_name}: {what}", path=path
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        near = nearest(attribute, [name for name in vars(module) if not name.startswith("_")])
        hint = f". Did you mean {near}?" if near else ""
        message = f"{entry_point}: {module_name} has no {attribute}{hint}"
        raise InputError(message, path=path) from None
