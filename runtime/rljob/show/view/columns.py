"""Rows of cells as lines of text. Pure."""

from __future__ import annotations

from collections.abc import Sequence

GAP = "   "


def columns(
    rows: Sequence[Sequence[str]], widths: Sequence[int] | None = None
) -> tuple[list[str], list[int]]:
    """The rows as lines with aligned columns, and the width of each column.

    Args:
        widths: minimum widths, e.g. of the columns written before.
    """
    grown = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if widths is not None:
        grown = list(map(max, grown, widths))
    lines = [
        GAP.join(cell.ljust(width) for cell, width in zip(cells, grown, strict=True)).rstrip()
        for cells in rows
    ]
    return lines, grown
