"""Values over an axis as columns of blocks. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rljob.show.view.panel import BLOCKS


def chart(values: Sequence[float], height: int, start: str, end: str) -> list[str]:
    """One column for each value, from 0 or the lowest value to the highest, above an axis.

    Args:
        values: at least one.
        height: in lines, without the axis.
        start: label of the axis at the first value.
        end: label at the last value.
    """
    low, high = min(0.0, *values), max(0.0, *values)
    scale = height * len(BLOCKS) / (high - low) if high > low else 0.0
    levels = [round((value - low) * scale) for value in values]
    labels = [f"{high:.3g}", *[""] * (height - 2), f"{low:.3g}"]
    width = max(map(len, labels))
    rows = [
        f"{label:>{width}} ┤" + "".join(_block(level - line * len(BLOCKS)) for level in levels)
        for label, line in zip(labels, reversed(range(height)), strict=True)
    ]
    axis = f"{start}{end:>{len(values) - len(start)}}"
    margin = " " * (width + 1)
    lines = [*rows, f"{margin}└{'─' * len(values)}", f"{margin} {axis}"]
    return [line.rstrip() for line in lines]


def _block(level: int) -> str:
    """The part of one line that a column of so many eighths above its bottom fills."""
    return BLOCKS[min(level, len(BLOCKS)) - 1] if level > 0 else " "
