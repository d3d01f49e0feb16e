"""Import paths in an RLJob: `package.module:attribute`."""

from __future__ import annotations

import contextlib
import importlib
import sys
from types import ModuleType
from typing import Any

from rljob.errors import AskedToEnd, InputError
from rljob.spec.invalid import nearest
from rljob.user_code.failure import explain

_importing: str | None = None


def importing() -> str | None:
    """The module of a user that is being imported, if any."""
    return _importing


def import_module(name: str, what: str, path: str) -> ModuleType:
    """Import a module of a user.

    Args:
        what: the start of the message, e.g. `cannot import my_env`.
        path: the field that names the module.

    Raises:
        InputError: the import raised, or ended the process.
    """
    global _importing
    _wait_for_torch()
    outer, _importing = _importing, name
    try:
        return importlib.import_module(name)
    except AskedToEnd:
        raise
    except BaseException as error:
        raise InputError(f"{what}: {explain(error)}", path=path) from error
    finally:
        _importing = outer


def _wait_for_torch() -> None:
    """Wait while another thread imports torch, as the learner's process does at its start.

    A module that imports a part of torch first, such as `torch.nn.functional`, would wait for torch in the part, and
    the thread for the part in torch. Python lets one of them go on with half a module, and the import of torch fails.
    """
    if "torch" in sys.modules:
        with contextlib.suppress(Exception):
            importlib.import_module("torch")


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
    module = import_module(module_name, f"{entry_point}: cannot import {module_name}", path)
    try:
        return getattr(module, attribute)
    except AttributeError:
        near = nearest(attribute, [name for name in vars(module) if not name.startswith("_")])
        hint = f". Did you mean {near}?" if near else ""
        message = f"{entry_point}: {module_name} has no {attribute}{hint}"
        raise InputError(message, path=path) from None
