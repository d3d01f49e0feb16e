"""The episodes that callers have begun: by id, for whoever began them, for as long as they are used."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from rljob.application.episode import Episode, PendingDecision
from rljob.errors import RunError

MOST_EPISODES = 10_000
MOST_DECISIONS = 4096
"""Decisions of one episode that can be named in a reward; older ones cannot."""


@dataclass
class Session:
    """An episode of a caller. Its lock orders the requests to it.

    Attributes:
        decisions: those of `late` decisions that can still be rewarded, by number.
        used: time of the last request.
    """

    owner: str
    episode: Episode
    used: float
    lock: threading.Lock = field(default_factory=threading.Lock)
    decisions: dict[int, PendingDecision] = field(default_factory=dict)
    number: int = 0

    def keep(self, decision: PendingDecision) -> int:
        """The number under which it can be rewarded."""
        self.number += 1
        self.decisions[self.number] = decision
        if len(self.decisions) > MOST_DECISIONS:
            del self.decisions[next(iter(self.decisions))]
        return self.number


class Sessions:
    """All of them.

    Args:
        idle: seconds after which an episode that nobody uses is given up.
    """

    def __init__(self, idle: float) -> None:
        self._idle = idle
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}
        self._ended: dict[str, Session] = {}

    def __len__(self) -> int:
        """Episodes that go on."""
        return len(self._open)

    def begin(self, owner: str, begin: Callable[[], Episode], now: float) -> str:
        """Returns the new id. An episode begins only where there is room for it.

        Raises:
            RunError: there are too many.
        """
        with self._lock:
            if len(self._open) >= MOST_EPISODES:
                raise RunError(f"{MOST_EPISODES} episodes go on; end some first")
            name = secrets.token_urlsafe(12)
            self._open[name] = Session(owner, begin(), now)
            return name

    def find(self, owner: str, name: str, now: float) -> Session | None:
        """An episode of this owner, also one that has ended a while ago: its rewards may come late."""
        with self._lock:
            found = self._open.get(name) or self._ended.get(name)
            if found is None or found.owner != owner:
                return None
            found.used = now
            return found

    def end(self, name: str) -> None:
        """It has ended; it is found until it was not used for the idle time."""
        with self._lock:
            found = self._open.pop(name, None)
            if found is not None and found.decisions:
                self._ended[name] = found

    def expire(self, now: float) -> int:
        """Give up what was not used for so long; returns how many episodes."""
        with self._lock:
            late = [name for name, each in self._open.items() if now - each.used > self._idle]
            given_up = [self._open.pop(name) for name in late]
            for name in [
                name for name, each in self._ended.items() if now - each.used > self._idle
            ]:
                del self._ended[name]
        for session in given_up:
            with session.lock:
                session.episode.abandon()
        return len(given_up)
