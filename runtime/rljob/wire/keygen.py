"""Makes the keys of a job."""

from __future__ import annotations

import os
from pathlib import Path

from rljob.errors import InputError
from rljob.spec.roles import ROLES
from rljob.wire.sockets import new_keypair


def generate(folder: Path) -> None:
    """Write a new pair for each role; raises InputError when the folder already holds keys."""
    names = [f"{role}.{part}" for role in ROLES for part in ("public", "secret")]
    if any((folder / name).exists() for name in names):
        raise InputError(f"{folder} already holds keys; choose an empty folder")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for role in ROLES:
            public, secret = new_keypair()
            _write(folder / f"{role}.public", public, 0o444)
            _write(folder / f"{role}.secret", secret, 0o400)
    except OSError as error:
        raise InputError(f"cannot write keys to {folder}: {error.strerror}") from error


def _write(path: Path, key: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(key + b"\n")
