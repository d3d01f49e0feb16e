"""Modules that a job carries in `code`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping

from rljob.errors import InputError

TAKEN = frozenset(sys.stdlib_module_names) | {
    "gymnasium",
    "numpy",
    "prometheus_client",
    "pydantic",
    "rljob",
    "rljob_operator",
    "safetensors",
    "torch",
    "yaml",
    "zmq",
}
"""Modules that the roles import; a job's module of the same name would hide one of them."""


def check_syntax(code: Mapping[str, str] | None) -> None:
    """Compile each module for the Python that runs this; nothing is executed.

    Raises:
        InputError: with path `code.<file>` and the line.
    """
    for name, text in (code or {}).items():
        try:
            with warnings.catch_warnings(action="ignore"):
                compile(text, name, "exec", dont_inherit=True)
        except SyntaxError as error:
            place = f"line {error.lineno}: " if error.lineno else ""
            message = f"{place}{error.msg}"
        except (ValueError, RecursionError, MemoryError) as error:
            message = str(error) or type(error).__name__
        else:
            continue
        raise InputError(f"is not valid Python: {message}", path=f"code.{name}")
