"""Common parts of all dashboards: variables, links, time, rows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from dashboards.parts import SOURCE, Panel, siblings

JOB = 'namespace="$namespace",rljob="$rljob"'
"""Matchers of the metrics of one job's processes."""
OF_OPERATOR = 'rljob_namespace="$namespace",rljob="$rljob"'
"""Matchers of the operator's metrics of one job."""
RATE = "$__rate_interval"
_EVERY_JOB = "rljob_buffer_rollouts_connected"


@dataclass(frozen=True)
class Section:
    """Panels under one heading."""

    title: str
    panels: Sequence[Panel]


def by_job(name: str, title: str, text: str, sections: Sequence[Section]) -> Dashboard:
    """A dashboard of one job, selected by variables."""
    namespace = _query("namespace", "Namespace", f"label_values({_EVERY_JOB}, namespace)")
    job = _query("rljob", "Job", f'label_values({_EVERY_JOB}{{namespace="$namespace"}}, rljob)')
    return _filled(_empty(name, title, text).with_variable(namespace).with_variable(job), sections)


def of_all(name: str, title: str, text: str, sections: Sequence[Section]) -> Dashboard:
    """A dashboard of the jobs in the selected namespaces; all by default."""
    namespace = _query("namespace", "Namespace", f"label_values({_EVERY_JOB}, namespace)")
    namespace = namespace.multi(True).include_all(True).all_value(".*")
    namespace = namespace.current(VariableOption(selected=True, text="All", value="$__all"))
    return _filled(_empty(name, title, text).with_variable(namespace), sections)


def _empty(name: str, title: str, text: str) -> Dashboard:
    dashboard = Dashboard(title).uid(f"rljob-{name}").description(text).tags(["rljob"])
    dashboard = dashboard.time("now-1h", "now").refresh("30s").timezone("browser")
    dashboard = dashboard.tooltip(DashboardCursorSync.CROSSHAIR).readonly().link(siblings())
    source = DatasourceVariable("datasource").label("Data source").type("prometheus")
    return dashboard.with_variable(source)


def _query(name: str, label: str, query: str) -> QueryVariable:
    variable = QueryVariable(name).label(label).query(query).datasource(SOURCE)
    refreshed = variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    return refreshed.sort(VariableSort.ALPHABETICAL_ASC)


def _filled(dashboard: Dashboard, sections: Sequence[Section]) -> Dashboard:
    number = itertools.count(1)
    for section in sections:
        dashboard = dashboard.with_row(Row(section.title).id(next(number)))
        for panel in section.panels:
            dashboard = dashboard.with_panel(panel.id(next(number)))
    return dashboard
