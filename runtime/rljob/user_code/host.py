"""Which command of rljob calls user code in this process: that code starts no run, and Ctrl-C is not its exception."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from rljob.errors import AskedToEnd

_host: str | None = None


def host() -> str | None:
    """The role or command that calls user code in this process; None in a user's own process."""
    return _host


def become_host(name: str) -> None:
    """Call user code from here on, until the process ends."""
    global _host
    _host = name


@contextmanager
def hosting(name: str) -> Iterator[None]:
    """Call user code in the block. Ctrl-C raises AskedToEnd in it: a KeyboardInterrupt is then the user code's own."""
    global _host
    outer, _host = _host, name
    before = signal.getsignal(signal.SIGINT)
    # It is ignored under nohup.
    own = before is signal.default_int_handler
    if own:
        signal.signal(signal.SIGINT, _stop)
    try:
        yield
    finally:
        _host = outer
        if own:
            signal.signal(signal.SIGINT, before)


def _stop(*_: object) -> NoReturn:
    raise AskedToEnd
