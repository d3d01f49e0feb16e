"""`make bench-check`: what moved between the baseline and the newest results.

Figures that are ratios of one run compare across machines; the others only where the machine is the same.
"""

from __future__ import annotations

from tests.bench import record
from tests.bench.group import Line, line
from tests.bench.groups import GROUPS

MOVED = 1.1
"""Times by which a figure has to differ, beyond the spreads of both, to count as moved."""


def main() -> int:
    """Print what moved; 1 where something got worse or an aim is missed that was met."""
    old, new = record.baseline(), record.newest()
    if not new:
        print("nothing measured yet on this machine: make bench")
        return 2
    worse = 0
    for name in (name for name in GROUPS if name in old and name in new):
        same = old[name]["machine"]["cpu"] == new[name]["machine"]["cpu"]
        for figure in GROUPS[name].figures:
            before, after = (line(figure, each[name]["results"]) for each in (old, new))
            if before is None or after is None or not (same or not figure.unit):
                continue
            word = verdict(before, after)
            worse += word in ("worse", "misses its aim")
            if word:
                print(f"{word:15} {figure.name}: {before.value:.4g} → {after.value:.4g}")
    print(f"{worse} worse, against the baseline in {record.BASELINE.name}")
    return 1 if worse else 0


def verdict(before: Line, after: Line) -> str:
    """`better`, `worse`, `misses its aim`, or nothing."""
    if before.met and after.met is False:
        return "misses its aim"
    numbers = [each for one in (before, after) for each in (one.number, one.low, one.high)]
    if any(each.sign for each in numbers):
        # Nobody can tell how far a bound is from the figure.
        return ""
    up = after.low.value > before.high.value and after.value > MOVED * before.value
    down = after.high.value < before.low.value and after.value * MOVED < before.value
    if not up and not down:
        return ""
    return "better" if up == before.figure.least else "worse"
