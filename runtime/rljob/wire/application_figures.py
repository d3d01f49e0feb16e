"""What the buffer tells the learner of each application: two arrays of STATS (docs/design/protocol.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np

from rljob.spec.experience import Field

MOST_TOLD = 16
"""Applications that are told by name: the busiest."""
_NAME_BYTES = 64


@dataclass(frozen=True)
class ApplicationFigures:
    """One application.

    Attributes:
        name: of the application.
        connected: processes that sent a message recently.
        steps: environment steps stored in this life of the buffer.
        steps_per_second: recent ones.
        lag: policy versions by which its newest segment was behind; 0 without a learner.
        version: policy version of its newest segment; -1 before the first.
        evicted: segments that it could not deliver, or that were too old.
        silent_seconds: since its newest segment; -1 before the first.
    """

    name: str
    connected: int = 0
    steps: int = 0
    steps_per_second: float = 0.0
    lag: int = 0
    version: int = -1
    evicted: int = 0
    silent_seconds: float = -1.0


def figure_fields(count: int) -> tuple[Field, ...]:
    """The arrays for so many applications; none for none."""
    if not count:
        return ()
    return (
        Field("application_name", "uint8", (count, _NAME_BYTES)),
        Field("application", "float64", (count, 7)),
    )


def write_figures(arrays: Mapping[str, np.ndarray], figures: Sequence[ApplicationFigures]) -> None:
    """Fill the arrays of `figure_fields`."""
    for row, each in enumerate(figures):
        name, *numbers = astuple(each)
        text = name.encode().ljust(_NAME_BYTES, b"\0")[:_NAME_BYTES]
        arrays["application_name"][row] = np.frombuffer(text, np.uint8)
        arrays["application"][row] = numbers


def take_figures(arrays: dict[str, np.ndarray]) -> tuple[ApplicationFigures, ...]:
    """Read the arrays and remove them; empty where there are none."""
    names, numbers = arrays.pop("application_name", None), arrays.pop("application", None)
    if names is None or numbers is None:
        return ()
    return tuple(_read(bytes(name), row) for name, row in zip(names, numbers, strict=True))


def busiest(figures: Iterable[ApplicationFigures]) -> tuple[ApplicationFigures, ...]:
    """Those that are told, the fastest first."""
    order = sorted(figures, key=lambda each: (-each.steps_per_second, -each.steps, each.name))
    return tuple(order[:MOST_TOLD])


def _read(name: bytes, row: np.ndarray) -> ApplicationFigures:
    connected, steps, rate, lag, version, evicted, silent = row.tolist()
    text = name.rstrip(b"\0").decode(errors="replace")
    return ApplicationFigures(
        text, int(connected), int(steps), rate, int(lag), int(version), int(evicted), silent
    )
