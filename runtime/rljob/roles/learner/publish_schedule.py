"""Decides which policy versions are published. Pure."""

from __future__ import annotations

from dataclasses import dataclass

PUBLISH_EVERY = 0.01
"""Seconds between two versions when learning from replay, unless it has to wait for data: a small network
makes thousands a second, and sending each would take a third of the learner's time."""


@dataclass
class Publication:
    """Remembers what was published.

    Args:
        awaited: whether rollouts may stand still until they have a version that was just made. Then
            every one is sent, else one in `PUBLISH_EVERY`.

    Attributes:
        published: the newest version that was; -1 before the first.
    """

    awaited: bool
    published: int = -1
    _at: float = float("-inf")

    def due(self, version: int, now: float, idle: bool = False) -> bool:
        """Whether `version`, the newest, is to be published now; `idle`: because there is nothing to do."""
        late = self.awaited or idle or now - self._at >= PUBLISH_EVERY
        return version > self.published and late

    def sent(self, version: int, now: float) -> None:
        """`version` was published."""
        self.published, self._at = version, now
