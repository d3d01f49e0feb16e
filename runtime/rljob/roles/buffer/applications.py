"""What the buffer counts of each application, by its name."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rljob.roles.buffer.rollouts import ConnectedRollout
from rljob.wire.application_figures import ApplicationFigures

MOST_KEPT = 1024
"""Names that are kept; the one that was silent for longest goes."""
RATE_SECONDS = 10.0
"""Time over which a rate is taken."""
_LOST = ("evicted", "stale")


@dataclass
class _Counted:
    steps: int = 0
    lag: int = 0
    version: int = -1
    evicted: int = 0
    arrived: float | None = None
    rate: float = 0.0
    before: int = 0
    since: float = 0.0


class ApplicationCounts:
    """Counts since this process began."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Counted] = OrderedDict()

    def arrived(self, name: str, steps: int, version: int, newest: int | None, now: float) -> None:
        """A segment was stored.

        Args:
            newest: version that the learner has published, if that is known.
        """
        found = self._of(name, now)
        found.steps += steps
        found.version, found.arrived = version, now
        found.lag = max(0, newest - version) if newest is not None else 0

    def lost(self, name: str, counted: Mapping[str, int], now: float) -> None:
        """It tells what it has counted since it last did."""
        found = self._of(name, now)
        found.evicted += sum(counted.get(each, 0) for each in _LOST)

    def figures(self, live: Iterable[ConnectedRollout], now: float) -> list[ApplicationFigures]:
        """Of all that are connected, or were."""
        connected = Counter(each.application for each in live if each.application)
        for name in connected:
            self._of(name, now)
        return [
            _figures(name, connected[name], counted, now) for name, counted in self._known.items()
        ]

    def _of(self, name: str, now: float) -> _Counted:
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = _Counted(since=now)
            if len(self._known) > MOST_KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(name)
        return found


def _figures(name: str, connected: int, counted: _Counted, now: float) -> ApplicationFigures:
    passed = now - counted.since
    if passed >= RATE_SECONDS or (counted.before == 0 < counted.steps and passed > 1.0):
        counted.rate = (counted.steps - counted.before) / passed
        counted.before, counted.since = counted.steps, now
    return ApplicationFigures(
        name,
        connected,
        counted.steps,
        round(counted.rate, 1),
        counted.lag,
        counted.version,
        counted.evicted,
        -1.0 if counted.arrived is None else round(now - counted.arrived, 1),
    )
