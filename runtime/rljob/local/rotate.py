"""Gives a run on this machine new keys while it trains."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rljob.errors import InputError, RunError
from rljob.local.application_access import refresh
from rljob.local.situation import ask_states, is_worked_on
from rljob.run_folder.names import JOB, KEYS
from rljob.wire.keygen import add_generation, remove_older, write_order
from rljob.wire.keys import generations, read_order
from rljob.wire.rotation import KeyOrder, following, lags

ASK_EVERY = 0.2
PATIENCE = 300.0
"""Seconds until a role that does not take a step counts as stuck; an update or an evaluation may take minutes."""


def rotate(folder: Path, tell: Callable[[str], None]) -> int:
    """Rotate the keys of the run in a folder; returns the generation that is in use then.

    A rotation that was interrupted is finished first and counts as this one.

    Args:
        tell: receives one line for each step.

    Raises:
        InputError: the folder is not that of a run that trains with keys.
        RunError: a role did not take a step. All keys stay valid that a role may use.
    """
    keys = _keys_of(folder)
    with _alone(keys):
        order, newest = read_order(keys), generations(keys)[-1]
        if newest == order.oldest:
            newest = add_generation(keys)
        refresh(folder)
        tell(f"keys {newest} are made; keys {order.oldest} and {newest} are valid")
        while True:
            _await(folder, order, newest)
            step = following(order, newest)
            if step == order:
                remove_older(keys, order.oldest)
                tell(f"every role uses keys {newest}; older keys are refused")
                return newest
            order = step
            _write(keys, order)
            refresh(folder)


def _keys_of(folder: Path) -> Path:
    if not (folder / JOB).is_file():
        raise InputError(f"{folder} is not a run's folder: it has no {JOB}")
    if not is_worked_on(folder):
        raise InputError(f"{folder} is not training; each start of a run makes new keys")
    keys = folder / KEYS
    if not keys.is_dir():
        raise InputError(
            f"{folder} has no keys: its roles talk over sockets that only this user can open. "
            "Runs with --transport tcp have keys"
        )
    return keys


@contextmanager
def _alone(keys: Path) -> Iterator[None]:
    handle = os.open(keys, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InputError(f"the keys in {keys} are being rotated already") from None
    finally:
        os.close(handle)


def _await(folder: Path, order: KeyOrder, newest: int) -> None:
    """Wait until every role has taken the present step. A role that starts reads the newest order."""
    deadline = time.monotonic() + PATIENCE
    while True:
        probes = ask_states(folder)
        late = [
            one.name for one in probes if one.state is None or lags(order, newest, one.state.keys)
        ]
        if probes and not late:
            return
        if not is_worked_on(folder):
            raise RunError("the run ended before its keys were rotated")
        if time.monotonic() > deadline:
            raise RunError(
                f"{', '.join(late) or 'no role'} did not take keys {newest} within {PATIENCE:.0f} s; keys "
                f"{order.oldest} to {newest} stay valid. The same command goes on from here"
            )
        time.sleep(ASK_EVERY)


def _write(keys: Path, order: KeyOrder) -> None:
    try:
        write_order(keys, order)
    except OSError as error:
        raise RunError(f"cannot write to {keys}: {error.strerror}") from error
