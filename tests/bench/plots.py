"""Plots of the benchmarks: bars with spreads, one picture for each group that has something to compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from tests.bench.group import Number, median
from tests.bench.record import Record

OURS, PEERS = "#2563eb", "#9ca3af"
PICTURES: dict[str, tuple[str, str, bool]] = {
    "cartpole": ("seconds", "seconds from the first environment step until solved", False),
    "lunarlander": ("seconds", "seconds from the first environment step until solved", False),
    "pendulum": ("seconds", "seconds from the first environment step until solved", False),
    "throughput": ("steps/s", "environment steps each second", True),
}
"""For each group with a picture: the value, what the axis says, and whether more is better."""
OWN = "rljob"
"""How the names of our measurements begin."""
LEFT_OUT = ("dqn", "sb3 dqn")
"""Measurements of another kind than those they share a group with."""


def write(record: Record, folder: Path) -> dict[str, Path]:
    """Draw what the record has; returns the picture of each group."""
    from tests.bench.groups import GROUPS

    mpl.use("agg")
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for group, (value, label, more) in PICTURES.items():
        if group in record:
            made[group] = folder / f"{group}.png"
            results = record[group]["results"]
            # Results that were kept may be of measurements that are no longer taken.
            taken = {name: results[name] for name in GROUPS[group].measurements if name in results}
            _bars(taken, value, label, more, made[group])
    return made


def _bars(results: Any, value: str, label: str, more: bool, file: Path) -> None:
    import matplotlib.pyplot as plt

    measured = {
        name: [run for run in runs if value in run["values"]]
        for name, runs in results.items()
        if not name.startswith(LEFT_OUT)
    }
    measured = {name: runs for name, runs in measured.items() if runs}
    names = sorted(measured, key=lambda name: median(measured[name], value).value, reverse=more)
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.36 * len(names)), layout="constrained")
    try:
        for place, name in enumerate(names):
            values = [float(run["values"][value]) for run in measured[name]]
            _bar(axes, place, name, values, median(measured[name], value))
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlabel(f"{label} ({'more' if more else 'less'} is better)")
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(file, dpi=120)
    finally:
        plt.close(figure)


def _bar(axes: Any, place: int, name: str, values: Sequence[float], middle: Number) -> None:
    spread = [[middle.value - min(values)], [max(values) - middle.value]]
    axes.barh(place, middle.value, color=OURS if name.startswith(OWN) else PEERS, height=0.7)
    axes.errorbar(middle.value, place, xerr=spread, color="#111827", capsize=3, linewidth=1)
    shown = f"{middle.value:,.0f}" if middle.value >= 100 else f"{middle.value:.2g}"
    shown = f"{middle.sign} {shown}".lstrip()
    axes.annotate(
        shown, (max(values), place), xytext=(6, 0), textcoords="offset points", va="center"
    )
