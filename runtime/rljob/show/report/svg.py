"""A plot as part of the page: curves in SVG that is stretched, text in HTML that is not.

The text is therefore readable on any screen, and the colours follow the page's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from rljob.show.report.history import Axis, RunMark
from rljob.show.report.plots import Band, Dots, Plot, PlotLine
from rljob.show.report.scale import Scale, tick, x_scale, x_tick, y_scale

WIDTH, HEIGHT = 1000, 400
COLOURS = 8
"""Number of the page's custom properties `--c0` …; further curves reuse them."""
MOST_MARKS = 80
"""Limit for the marks of one kind; more would overlap."""


def figure(plot: Plot) -> str:
    """The plot as a `<figure>`."""
    x, y = x_scale(plot), y_scale(plot)
    canvas = _SvgCanvas(x, y)
    wide = " wide" if plot.wide else ""
    note = f"<p>{escape(plot.note)}</p>" if plot.note else ""
    return "\n".join(
        [
            f'<figure class="plot{wide}" id="{escape(plot.key)}">',
            f"<figcaption><h3>{escape(plot.title)}</h3>{note}</figcaption>",
            '<div class="frame">',
            f'<div class="y">{_y_labels(plot, y)}</div>',
            f'<div class="area">{_svg(plot, canvas)}{_level_labels(plot, canvas)}</div>',
            f'<div class="x">{_x_labels(plot, x)}</div>',
            "</div>",
            _legend(plot),
            "</figure>",
        ]
    )


class _SvgCanvas:
    """Converts values to the SVG's units."""

    def __init__(self, x: Scale, y: Scale) -> None:
        self.x_scale, self.y_scale = x, y

    def x(self, value: float) -> str:
        return _short(WIDTH * self.x_scale.at(value))

    def y(self, value: float) -> str:
        return _short(HEIGHT * (1 - self.y_scale.at(value)))

    def path(self, points: Iterable[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{self.x(x)} {self.y(y)}" for x, y in points)


def _svg(plot: Plot, canvas: _SvgCanvas) -> str:
    x, y = canvas.x_scale, canvas.y_scale
    reach = f'data-x="{x.low:g} {x.high:g}" data-y="{y.low:g} {y.high:g}" data-axis="{plot.x}"'
    share = " data-share" if plot.share else ""
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img"',
        f' aria-label="{escape(_description(plot))}" {reach}{share}>',
        *(_across("grid", canvas.y(each)) for each in y.ticks),
        *(_upright(canvas, mark, plot.x) for mark in _thinned(plot.marks)),
        *(_across("level", canvas.y(level.y)) for level in plot.levels),
        *(_band(canvas, band) for band in plot.bands if band.points),
        *(_line(canvas, line) for line in plot.lines if line.points),
        *(_dots(canvas, dots) for dots in plot.dots if dots.points),
        "</svg>",
    ]
    return "".join(parts)


def _line(canvas: _SvgCanvas, line: PlotLine) -> str:
    kind = "quiet" if line.quiet else "dashed" if line.dashed else "line"
    name = "" if line.quiet else f' data-label="{escape(line.label)}"'
    points = line.points if len(line.points) > 1 else (*line.points, *line.points)
    return f'<path class="{kind} c{line.colour % COLOURS}"{name} d="{canvas.path(points)}"/>'


def _band(canvas: _SvgCanvas, band: Band) -> str:
    upper = [(x, high) for x, _, high in band.points]
    lower = [(x, low) for x, low, _ in reversed(band.points)]
    kind = "solid" if band.solid else "band"
    return f'<path class="{kind} f{band.colour % COLOURS}" d="{canvas.path([*upper, *lower])}Z"/>'


def _dots(canvas: _SvgCanvas, dots: Dots) -> str:
    colour = f"c{dots.colour % COLOURS}"
    spans = [
        f"M{canvas.x(x)} {canvas.y(mean - std)}V{canvas.y(mean + std)}"
        for x, mean, std in dots.points
    ]
    # Round ends of lines without length are circles that stay round when the SVG is stretched.
    round_ends = [f"M{canvas.x(x)} {canvas.y(mean)}h0" for x, mean, _ in dots.points]
    return (
        f'<path class="span {colour}" d="{"".join(spans)}"/>'
        f'<path class="halo" d="{"".join(round_ends)}"/>'
        f'<path class="dot {colour}" d="{"".join(round_ends)}"/>'
    )


def _across(kind: str, y: str) -> str:
    return f'<path class="{kind}" d="M0 {y}H{WIDTH}"/>'


def _upright(canvas: _SvgCanvas, mark: RunMark, axis: Axis) -> str:
    x = canvas.x(mark.at(axis))
    if mark.kind == "restart":
        return (
            f'<path class="restart" d="M{x} 0V{HEIGHT}"><title>{escape(mark.text)}</title></path>'
        )
    return (
        f'<path class="checkpoint" d="M{x} {HEIGHT - 12}V{HEIGHT}">'
        f"<title>{escape(mark.text)}</title></path>"
    )


def _thinned(marks: Sequence[RunMark]) -> list[RunMark]:
    """At most about `MOST_MARKS` marks of each kind, evenly thinned."""
    kinds = [[mark for mark in marks if mark.kind == kind] for kind in ("restart", "checkpoint")]
    return [mark for each in kinds for mark in each[:: 1 + len(each) // MOST_MARKS]]


def _y_labels(plot: Plot, y: Scale) -> str:
    return "".join(
        f'<span style="bottom:{100 * y.at(each):.2f}%">{tick(each, y.ticks, plot.share)}</span>'
        for each in y.ticks
    )


def _x_labels(plot: Plot, x: Scale) -> str:
    # Every second label may be hidden on a narrow screen.
    return "".join(
        f'<span class="{"even" if at % 2 == 0 else "odd"}" style="left:{100 * x.at(each):.2f}%">'
        f"{x_tick(plot.x, each, x.ticks)}</span>"
        for at, each in enumerate(x.ticks)
    )


def _level_labels(plot: Plot, canvas: _SvgCanvas) -> str:
    return "".join(
        f'<span class="level-text" style="bottom:{100 * canvas.y_scale.at(level.y):.2f}%">'
        f"{escape(level.text)}</span>"
        for level in plot.levels
    )


def _legend(plot: Plot) -> str:
    entries = [
        ("dashes" if line.dashed else "stroke", line.colour, line.key or line.label)
        for line in plot.lines
        if line.points and not line.quiet
    ]
    entries += [("fill", b.colour, b.label) for b in plot.bands if b.points and b.solid]
    entries += [("point", d.colour, d.label) for d in plot.dots if d.points]
    items = [
        f'<li><i class="{kind} c{colour % COLOURS}"></i>{escape(label)}</li>'
        for kind, colour, label in dict.fromkeys(entries)
    ]
    kinds = dict.fromkeys(mark.kind for mark in plot.marks)
    items += [f'<li><i class="{kind}-key"></i>{kind}</li>' for kind in kinds]
    return f'<ul class="legend">{"".join(items)}</ul>' if len(items) > 1 else ""


def _description(plot: Plot) -> str:
    """Text for screen readers."""
    ends = [
        f"{line.label} ends at {tick(line.points[-1][1], (line.points[-1][1],), plot.share)}"
        for line in plot.lines
        if line.points and not line.quiet
    ]
    return "; ".join([plot.title, *ends])


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
