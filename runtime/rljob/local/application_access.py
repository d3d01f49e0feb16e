"""How applications find a run on this machine, and the files of their keys."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from rljob.errors import RunError
from rljob.run_folder import json_files
from rljob.run_folder.names import APPLICATION_ACCESS, APPLICATION_KEYS, KEYS
from rljob.wire.application_keys import ApplicationKey, admit, read_application_key
from rljob.wire.keys import generations, read_order, read_public
from rljob.wire.sockets import new_keypair

LOCAL = "local"
"""Application whose key `rljob.Agent` takes when it is given the run's folder alone."""


def open_run(folder: Path, buffer: str, learner: str, keys: Path | None) -> None:
    """Tell applications where the run is, and admit those that have a key.

    Args:
        folder: the run's.
        keys: folder of the roles' keys; None where only this user can connect.

    Raises:
        RunError: the folder cannot be written.
    """
    access = {"buffer": buffer, "learner": learner}
    try:
        if keys is not None:
            _admit_known(folder, keys)
            if not key_file(folder, LOCAL).exists():
                make_key(folder, LOCAL)
            access["keys"] = str(key_file(Path(), LOCAL))
        json_files.write(folder / APPLICATION_ACCESS, access)
    except OSError as error:
        raise RunError(f"cannot write to the run's folder {folder}: {error.strerror}") from error


def close_run(folder: Path) -> None:
    """Applications find no run here from now on; their keys stay for when it is resumed."""
    with suppress(OSError):
        (folder / APPLICATION_ACCESS).unlink(missing_ok=True)


def key_file(folder: Path, name: str) -> Path:
    """The file of an application's key."""
    return folder / APPLICATION_KEYS / f"{name}.json"


def refresh(folder: Path) -> None:
    """Write the servers' present keys into the files of the applications, after they were changed.

    Raises:
        RunError: a file cannot be written.
    """
    try:
        for path in sorted((folder / APPLICATION_KEYS).glob("*.json")):
            known = read_application_key(path)
            _written(path, known.name, known.public, known.secret, folder / KEYS)
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror}") from error


def _admit_known(folder: Path, keys: Path) -> None:
    for path in sorted((folder / APPLICATION_KEYS).glob("*.json")):
        known = read_application_key(path)
        admit(keys, known.name, known.public)
        _written(path, known.name, known.public, known.secret, keys)


def make_key(folder: Path, name: str) -> Path:
    """Make a key for an application; returns its file. Raises InputError if there is one, and OSError."""
    path = key_file(folder, name)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    public, secret = new_keypair()
    admit(folder / KEYS, name, public)
    _written(path, name, public, secret, folder / KEYS)
    return path


def _written(path: Path, name: str, public: bytes, secret: bytes, keys: Path) -> None:
    order = read_order(keys)
    accepted = [number for number in generations(keys) if number >= order.oldest]
    # The one in use first; the others may be while keys are changed.
    accepted.sort(key=lambda number: number != order.current)
    servers = {
        role: tuple(read_public(keys, number, role) for number in accepted)
        for role in ("buffer", "learner")
    }
    ApplicationKey(name, public, secret, servers).write(path)
