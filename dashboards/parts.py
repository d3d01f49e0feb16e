"""Building blocks of the dashboards: panels with a title, a description, a unit and queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import common as options
from grafana_foundation_sdk.builders import heatmap, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import DashboardLink, ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
HEIGHT = 8
Panel = timeseries.Panel | stat.Panel | table.Panel | heatmap.Panel
P = TypeVar("P", timeseries.Panel, stat.Panel, table.Panel, heatmap.Panel)


@dataclass(frozen=True)
class Query:
    """One expression.

    Attributes:
        legend: names its series, e.g. `{{pod}}`.
    """

    expression: str
    legend: str


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        expression: gives one series for each row.
        unit: one of `grafana_foundation_sdk.models.units`.
    """

    title: str
    expression: str
    unit: str
    decimals: int = 0


def or_none(expression: str) -> str:
    """The expression, or 0 while it has no series."""
    # Without `on()`, the 0 stands beside series that have labels.
    return f"{expression} or on() vector(0)"


def lines(
    title: str, text: str, unit: str, *queries: Query, width: int = 8, most: float | None = None
) -> timeseries.Panel:
    """Values over time.

    Args:
        text: description: what the panel shows, and how to interpret it.
        width: in 24ths of the screen.
        most: maximum possible value.
    """
    panel = _described(timeseries.Panel(), title, text, width, HEIGHT)
    panel = panel.unit(unit).line_width(1).fill_opacity(10).show_points(VisibilityMode.NEVER)
    panel = panel.legend(_legend()).tooltip(
        options.VizTooltipOptions().mode(TooltipDisplayMode.MULTI)
    )
    if most is not None:
        panel = panel.min(0).max(most)
    return _asking(panel, queries)


def stacked(title: str, text: str, unit: str, query: Query, width: int = 8) -> timeseries.Panel:
    """Parts of a whole over time."""
    panel = lines(title, text, unit, query, width=width).min(0).fill_opacity(60)
    return panel.stacking(options.StackingConfig().mode(StackingMode.NORMAL))


def number(
    title: str, text: str, unit: str, query: Query, width: int = 4, alarm: float | None = None
) -> stat.Panel:
    """The newest value, large; red from `alarm` on."""
    panel = _described(stat.Panel(), title, text, width, 4).unit(unit)
    steps = [Threshold(None, "green")]
    if alarm is not None:
        steps.append(Threshold(alarm, "red"))
    return _asking(panel.thresholds(ThresholdsConfig().steps(steps)), (query,))


def heat(title: str, text: str, unit: str, histogram: str, width: int = 8) -> heatmap.Panel:
    """A histogram over time.

    Args:
        histogram: expression that gives a rate for each bucket, by `le`.
    """
    panel = _described(heatmap.Panel(), title, text, width, HEIGHT).calculate(False)
    panel = panel.color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues"))
    panel = panel.y_axis(heatmap.YAxisConfig().unit(unit)).show_legend()
    query = Dataquery().expr(histogram).legend_format("{{le}}").format(PromQueryFormat.HEATMAP)
    return panel.with_target(query.range().ref_id("A").datasource(SOURCE))


def rows(
    title: str,
    text: str,
    columns: Sequence[Column],
    renamed: Mapping[str, str],
    links: Mapping[str, str],
) -> table.Panel:
    """A table of current values, as wide as the screen.

    Args:
        renamed: label to the title of its column; other labels are not shown.
        links: title of a column to the URL that it links to.
    """
    panel = _described(table.Panel(), title, text, 24, HEIGHT)
    names = dict(renamed)
    for index, column in enumerate(columns):
        letter = chr(ord("A") + index)
        query = Dataquery().expr(column.expression).instant().format(PromQueryFormat.TABLE)
        panel = panel.with_target(query.ref_id(letter).datasource(SOURCE))
        names[f"Value #{letter}"] = column.title
        style = [DynamicConfigValue("unit", column.unit)]
        style += [DynamicConfigValue("decimals", column.decimals)]
        panel = panel.override_by_name(column.title, style)
    for name, url in links.items():
        link: list[Any] = [{"title": "Show", "url": url}]
        panel = panel.override_by_name(name, [DynamicConfigValue("links", link)])
    shown = {"excludeByName": {"Time": True}, "renameByName": names}
    panel = panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    return panel.with_transformation(DataTransformerConfig(id_val="organize", options=shown))


def siblings() -> DashboardLink:
    """The other dashboards of rljob, with the same variables and time."""
    link = DashboardLink("rljob").type(DashboardLinkType.DASHBOARDS).tags(["rljob"])
    return link.include_vars(True).keep_time(True)


def _described(panel: P, title: str, text: str, width: int, height: int) -> P:
    described = panel.title(title).description(text).datasource(SOURCE)
    return described.span(width).height(height)


def _asking(panel: P, queries: Sequence[Query]) -> P:
    for index, query in enumerate(queries):
        asked = Dataquery().expr(query.expression).legend_format(query.legend).range()
        panel = panel.with_target(asked.ref_id(chr(ord("A") + index)).datasource(SOURCE))
    return panel


def _legend() -> options.VizLegendOptions:
    legend = options.VizLegendOptions().display_mode(LegendDisplayMode.LIST)
    return legend.placement(LegendPlacement.BOTTOM).show_legend(True)
