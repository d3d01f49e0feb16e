"""When a client starts its connection anew: nothing was heard although something was due. Pure."""

from __future__ import annotations

from dataclasses import dataclass

RECONNECT_AFTER = 10.0
"""Seconds without a message after which a connection is started anew."""
LOOKED_AWAY = 2.0
"""Seconds between two looks that do not count: the process was busy, and what came meanwhile was not read."""


@dataclass
class Silence:
    """Of one client's connection, as far as it was listened to.

    libzmq gives a connection up for good after an error of the protocol: a flipped bit, another program at the
    port, a refused key. So a client that hears nothing connects again, whatever happened before.
    """

    after: float = RECONNECT_AFTER
    _lasts: float = 0.0
    _looked: float | None = None

    def heard(self) -> None:
        """A well-formed message came."""
        self._lasts = 0.0

    def due(self, now: float) -> bool:
        """Look, and say whether to connect again now."""
        passed = now - self._looked if self._looked is not None else 0.0
        self._looked = now
        if passed <= LOOKED_AWAY:
            self._lasts += passed
        if self._lasts < self.after:
            return False
        self._lasts = 0.0
        return True
