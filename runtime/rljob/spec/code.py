"""Modules that a job carries: in `code`, or as a folder that was sent with it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from rljob.errors import InputError
from rljob.spec.schema import AS_INTEGER, Section

ArchiveBytes = Annotated[int, Field(ge=1, le=8 << 20), AS_INTEGER]

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


PART_BYTES = 900 << 10
"""Largest part of an archive: a ConfigMap holds 1 MiB."""
LARGEST_ARCHIVE = 8 << 20


class CodeArchiveSpec(Section):
    """The folder that was sent with a job."""

    sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="SHA-256 of its contents, as a tar archive."
    )
    size: ArchiveBytes = Field(description="Bytes of the archive, compressed.")
    commit: str | None = Field(
        default=None, max_length=128, description="Git commit that was checked out in the folder."
    )

    @property
    def parts(self) -> int:
        """Number of parts in which the archive is stored."""
        return -(-self.size // PART_BYTES)


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
