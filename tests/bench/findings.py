"""What was found to bound the figures of a group, as a table."""

from __future__ import annotations


def findings(*rows: tuple[str, str]) -> str:
    """Markdown with one finding a row: what was found, and the figures that it rests on.

    A conclusion that was not measured by itself is marked as inferred.
    """
    lines = ["| Finding | Measured |", "|---|---|", *(f"| {what} | {how} |" for what, how in rows)]
    return "\n".join(lines)
