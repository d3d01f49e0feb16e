"""Import paths in an RLJob: `package.module:attribute`."""

from __future__ import annotations

import importlib
from typing import Any

from rljob.errors import AskedToEnd, InputError
from rljob.spec.invalid import nearest
from rljob.user_code.failure import explain


def load_entry_point(entry_point: str, path: str) -> Any:
    """What an import path names.

    Args:
        entry_point: `package.module:attribute`.
        path: the field that holds it, for messages, e.g. `algorithm.entryPoint`.

    Raises:
        InputError: when the module cannot be imported or has no such attribute.
    """
    module_name, _, attribute = entry_point.partition(":")
    if module_name == "__main__":
        raise InputError(
            f"{entry_point}: __main__ is another module in each role. Put {attribute} into a module of its "
            f"own and name that, e.g. my_module:{attribute}",
            path=path,
        )
    try:
        module = importlib.import_module(module_name)
    except AskedToEnd:
        raise
    except BaseException as error:
        what = f"{entry_point}: cannot import {module_name}: {explain(error)}"
        raise InputError(what, path=path) from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        near = nearest(attribute, [name for name in vars(module) if not name.startswith("_")])
        hint = f". Did you mean {near}?" if near else ""
        message = f"{entry_point}: {module_name} has no {attribute}{hint}"
        raise InputError(message, path=path) from None
