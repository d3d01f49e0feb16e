"""The token that a run's roles ask for before they tell their state: only who reads the run's folder has it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from rljob.errors import InputError, RunError

_BYTES = 32


def new() -> str:
    """A random token."""
    return secrets.token_hex(_BYTES)


def write(path: Path, token: str) -> None:
    """Write a file that only its owner can read, whatever the umask.

    Raises:
        RunError: the file cannot be written.
    """
    try:
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(token)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error


def read(path: Path) -> str:
    """The token in a file.

    Raises:
        InputError: the file cannot be read or is empty.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the token in {path}: {error}") from None
    if not token:
        raise InputError(f"{path} is empty; a token is expected")
    return token
