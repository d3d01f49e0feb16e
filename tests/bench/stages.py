"""Where time goes, as a table of medians over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from tests.bench.group import Results


def table(results: Results, columns: Mapping[str, str]) -> str:
    """Markdown with a line for each measurement that has any of these values.

    Args:
        columns: the heading of each value, by its name.
    """
    lines = [f"| | {' | '.join(columns.values())} |", f"|---{'|--:' * len(columns)}|"]
    for name, seeds in results.items():
        values = [
            [one["values"][column] for one in seeds if column in one["values"]]
            for column in columns
        ]
        if any(values):
            cells = [f"{statistics.median(each):,.0f}" if each else "" for each in values]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
