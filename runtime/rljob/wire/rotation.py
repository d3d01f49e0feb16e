"""How a job changes its CURVE keys while it trains. Pure.

A generation is one pair for each role. A new one comes into use in three steps, and each begins when every role
has taken the one before:

1. every role knows it: servers admit its public keys, clients know its server keys
2. every role uses its secret
3. no role accepts an older one
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass

from rljob.errors import InputError
from rljob.spec.invalid import show


@dataclass(frozen=True)
class KeyOrder:
    """What the roles of a job are to do.

    Attributes:
        oldest: oldest generation that they accept.
        current: generation whose secret they use.
    """

    oldest: int = 1
    current: int = 1

    @classmethod
    def from_json(cls, text: str) -> KeyOrder:
        """Raises InputError for a text that is no order."""
        try:
            value = json.loads(text)
            order = cls(value["oldest"], value["current"])
        except (ValueError, LookupError, TypeError, RecursionError):
            order = cls(0, 0)
        numbers = (order.oldest, order.current)
        if (
            any(type(number) is not int for number in numbers)
            or not 1 <= order.oldest <= order.current
        ):
            raise InputError(
                f"{show(text)} does not name the generations of keys; it must be "
                '{"oldest": N, "current": M} with 1 ≤ N ≤ M'
            )
        return order

    def to_json(self) -> str:
        return json.dumps(asdict(self))


FIRST = KeyOrder()
"""Of a job that has never changed its keys."""


@dataclass(frozen=True)
class KeyReport:
    """What one role has done.

    Attributes:
        known: newest generation that it knows.
        current: generation whose secret it uses.
        oldest: oldest generation that it accepts.
    """

    known: int
    current: int
    oldest: int


def slowest(reports: Sequence[KeyReport]) -> KeyReport | None:
    """The report of a role with several sockets, each of which reads the keys itself; None if it has no keys."""
    if not reports:
        return None
    known, current, oldest = (min(numbers) for numbers in zip(*map(astuple, reports), strict=True))
    return KeyReport(known, current, oldest)


def lags(order: KeyOrder, wanted: int, report: KeyReport | None) -> bool:
    """Whether a role has yet to take the present step towards generation `wanted`; None if it did not answer."""
    if report is None:
        return True
    if order.current < wanted:
        return report.known < wanted
    return report.current < order.current or report.oldest < order.oldest


def following(order: KeyOrder, wanted: int) -> KeyOrder:
    """The order once no role lags; the same one if `wanted` is the only generation that is accepted."""
    if order.current < wanted:
        return KeyOrder(order.oldest, wanted)
    return KeyOrder(order.current, order.current)
