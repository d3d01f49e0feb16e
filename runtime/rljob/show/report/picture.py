"""Draws a plot as a PNG or SVG file with matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import matplotlib as mpl
from matplotlib.figure import Figure

from rljob.show.report.plots import Plot
from rljob.show.report.scale import tick, x_scale, x_tick, y_scale

COLOURS = (
    "#2563c9", "#d9622b", "#1a8a72", "#a03fb3", "#b08800", "#d43d74", "#4f6bd8", "#6b7280",
)  # fmt: skip
DIM, BAD = "#626a75", "#c02f3a"
DOTS_PER_INCH = 160


def write(plot: Plot, folder: Path, kind: Literal["png", "svg"] = "png") -> Path:
    """Draw the plot into `folder`, named after its key; returns the file. The same plot gives the same SVG."""
    x, y = x_scale(plot), y_scale(plot)
    figure = Figure(figsize=(9.0, 4.6) if plot.wide else (6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.set_title(plot.title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlim(x.low, x.high)
    axes.set_ylim(y.low, y.high)
    axes.set_xticks(x.ticks, [x_tick(plot.x, each, x.ticks) for each in x.ticks])
    axes.set_yticks(y.ticks, [tick(each, y.ticks, plot.share) for each in y.ticks])
    axes.set_xlabel("environment steps" if plot.x == "steps" else "time")
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    for mark in plot.marks:
        restart = mark.kind == "restart"
        axes.axvline(
            mark.at(plot.x),
            ymax=1.0 if restart else 0.03,
            color=BAD if restart else DIM,
            linewidth=1.0,
        )
    for level in plot.levels:
        axes.axhline(level.y, color=DIM, linewidth=1.0, linestyle=":")
        axes.annotate(level.text, (x.high, level.y), color=DIM, fontsize=8, ha="right", va="bottom")
    for band in plot.bands:
        xs, low, high = zip(*band.points, strict=True) if band.points else ((), (), ())
        label = band.label if band.solid else None
        alpha = 0.8 if band.solid else 0.17
        axes.fill_between(xs, low, high, color=_colour(band.colour), alpha=alpha, lw=0, label=label)
    labelled: set[str] = set()
    for line in plot.lines:
        key = line.key or line.label
        xs, ys = zip(*line.points, strict=True) if line.points else ((), ())
        axes.plot(
            xs,
            ys,
            color=_colour(line.colour),
            linewidth=0.8 if line.quiet else 1.7,
            alpha=0.4 if line.quiet else 1.0,
            linestyle="--" if line.dashed else "-",
            label=None if line.quiet or not line.points or key in labelled else key,
        )
        labelled.add(key)
    for dots in plot.dots:
        xs, ys, deviations = zip(*dots.points, strict=True) if dots.points else ((), (), ())
        label = dots.label if dots.points else None
        axes.errorbar(
            xs, ys, deviations, color=_colour(dots.colour), fmt="o", ms=4, lw=1, label=label
        )
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(fontsize=8, frameon=False)
    path = folder / f"{plot.key}.{kind}"
    # Ids in an SVG are random by default, and it has the time at which it was made.
    with mpl.rc_context({"svg.hashsalt": plot.key, "svg.fonttype": "none"}):
        figure.savefig(path, dpi=DOTS_PER_INCH, metadata={"Date": None} if kind == "svg" else None)
    return path


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
