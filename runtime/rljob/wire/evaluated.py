"""An evaluation as the evaluator tells it to the learner: EVALUATED, see docs/design/protocol.md."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rljob.wire.messages import Header, MessageKind, Rejected, decode_json, encode_json

_NUMBERS = ("mean", "std", "min", "max")


@dataclass(frozen=True)
class PlayedPolicy:
    """Greedy episodes of one policy version.

    Attributes:
        mean, std, min, max: of the returns; NaN for one that is not finite.
    """

    lineage: int
    version: int
    episodes: int
    mean: float
    std: float
    min: float
    max: float


def evaluated_message(played: PlayedPolicy) -> tuple[Header, bytes]:
    """Header and payload."""
    numbers = {name: getattr(played, name) for name in _NUMBERS}
    known = {name: value for name, value in numbers.items() if math.isfinite(value)}
    header = Header(MessageKind.EVALUATED, lineage=played.lineage, version=played.version)
    return header, encode_json({"episodes": played.episodes, **known})


def read_evaluated(header: Header, payload: memoryview | bytes) -> PlayedPolicy:
    """What a message carries.

    Raises:
        Rejected: it is not as specified.
    """
    value = decode_json(payload)
    episodes = value.get("episodes")
    if not isinstance(episodes, int) or isinstance(episodes, bool) or episodes < 1:
        raise Rejected("json", f"episodes {episodes!r:.80} is no number of episodes")
    numbers = {name: _number(name, value.get(name)) for name in _NUMBERS}
    return PlayedPolicy(header.lineage, header.version, episodes, **numbers)


def _number(name: str, value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Rejected("json", f"{name} {value!r:.80} is no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Rejected("values", f"{name} is not finite")
    return number
