"""The keys of a run's applications: made, listed and revoked while it trains."""

from __future__ import annotations

from pathlib import Path

from rljob.errors import InputError, RunError
from rljob.local.application_access import key_file, make_key
from rljob.local.situation import is_worked_on
from rljob.run_folder.names import JOB, KEYS
from rljob.wire.application import is_application
from rljob.wire.application_keys import revoke
from rljob.wire.keys import read_admitted


def add(folder: Path, name: str) -> Path:
    """Make a key for an application; returns its file.

    Raises:
        InputError: the run has no keys, or one of this name.
        RunError: a file cannot be written.
    """
    _keys_of(folder)
    if not is_application(name):
        raise InputError(
            f"{name!r:.80} is no name of an application: up to 63 lower-case letters, digits and '-'"
        )
    try:
        return make_key(folder, name)
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror}") from error


def names(folder: Path) -> list[str]:
    """Names of the applications that may connect; raises InputError where the run has no keys."""
    return sorted(read_admitted(_keys_of(folder)))


def withdraw(folder: Path, name: str) -> None:
    """Revoke an application's key: its connections end within seconds.

    Raises:
        InputError: there is none of this name.
        RunError: a file cannot be written.
    """
    try:
        revoke(_keys_of(folder), name)
        key_file(folder, name).unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror}") from error


def _keys_of(folder: Path) -> Path:
    if not (folder / JOB).is_file():
        raise InputError(f"{folder} is not a run's folder: it has no {JOB}")
    keys = folder / KEYS
    if not keys.is_dir():
        if not is_worked_on(folder):
            raise InputError(f"{folder} is not training; each start of a run makes new keys")
        raise InputError(
            f"{folder} has no keys: only programs of this user on this machine can connect, and they need none. "
            "Runs with --transport tcp have keys"
        )
    return keys
