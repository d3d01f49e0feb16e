"""Makes the keys of a job, and further generations of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from rljob.errors import InputError
from rljob.run_folder.write_whole import write_whole
from rljob.spec.roles import ROLES
from rljob.wire.keys import ORDER, generations
from rljob.wire.rotation import FIRST, KeyOrder
from rljob.wire.sockets import new_keypair


def generate(folder: Path) -> None:
    """Write the first generation; raises InputError when the folder already holds keys."""
    if (folder / ORDER).exists() or (folder / "1").exists():
        raise InputError(f"{folder} already holds keys; choose an empty folder")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _add(folder, 1)
        write_order(folder, FIRST)
    except OSError as error:
        raise InputError(f"cannot write keys to {folder}: {error.strerror}") from error


def add_generation(folder: Path) -> int:
    """Write the next generation; returns its number."""
    number = generations(folder)[-1] + 1
    try:
        _add(folder, number)
    except OSError as error:
        raise InputError(f"cannot write keys to {folder}: {error.strerror}") from error
    return number


def remove_older(folder: Path, generation: int) -> None:
    """Remove the generations before this one, as far as that is possible."""
    for number in generations(folder):
        if number < generation:
            shutil.rmtree(folder / str(number), ignore_errors=True)


def write_order(folder: Path, order: KeyOrder) -> None:
    """Tell the roles that read this folder; raises OSError."""
    write_whole(folder / ORDER, order.to_json() + "\n")


def _add(folder: Path, number: int) -> None:
    # A role never sees half of a generation.
    half = folder / f".{number}-{os.getpid()}"
    try:
        half.mkdir(mode=0o700)
        for role in ROLES:
            public, secret = new_keypair()
            _write(half / f"{role}.public", public, 0o444)
            _write(half / f"{role}.secret", secret, 0o400)
        half.rename(folder / str(number))
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise


def _write(path: Path, key: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(key + b"\n")
