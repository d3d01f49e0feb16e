"""Dashboards: the committed JSON is what the code makes, fits Grafana's schema, and asks for what exists."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as schema
from grafana_foundation_sdk.models import units

from dashboards.__main__ import rendered
from tests.monitoring.expressions import known_names, names_in
from tests.monitoring.prometheus import CHART

RENDERED = {name: json.loads(text) for name, text in rendered().items()}
PANELS = [
    (name, panel)
    for name, dashboard in RENDERED.items()
    for panel in dashboard["panels"]
    if panel["type"] != "row"
]
EVERY_PANEL = pytest.mark.parametrize(
    ("name", "panel"), PANELS, ids=[f"{name}: {panel['title']}" for name, panel in PANELS]
)
# Grafana's, and not in the list of the SDK.
OTHER_UNITS = {"ops", "reqps", "mps"}
UNITS = {value for value in vars(units).values() if isinstance(value, str)} | OTHER_UNITS
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def test_the_committed_ones_are_those_of_the_code() -> None:
    committed = {path.name: path.read_text() for path in (CHART / "dashboards").iterdir()}
    assert committed == rendered()


@pytest.mark.parametrize("name", RENDERED)
def test_it_fits_the_schema(name: str) -> None:
    read = schema.Dashboard.from_json(RENDERED[name])
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == RENDERED[name]


@pytest.mark.parametrize("name", RENDERED)
def test_a_person_chooses_source_namespace_and_job(name: str) -> None:
    dashboard = RENDERED[name]
    chosen = [variable["name"] for variable in dashboard["templating"]["list"]]
    assert chosen == ["datasource", "namespace", *([] if name == "fleet.json" else ["rljob"])]
    for variable in dashboard["templating"]["list"][1:]:
        assert variable["datasource"] == SOURCE
        assert names_in(variable["query"].partition("(")[2]) <= known_names()
    assert dashboard["uid"] == f"rljob-{name.removesuffix('.json')}"
    assert dashboard["tags"] == ["rljob"]


@pytest.mark.parametrize("name", RENDERED)
def test_panels_fill_the_screen_and_do_not_overlap(name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in RENDERED[name]["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        columns = range(at["x"], at["x"] + at["w"])
        for cell in itertools.product(columns, range(at["y"], at["y"] + at["h"])):
            assert taken.setdefault(cell, panel["title"]) == panel["title"]
    assert len(taken) == 24 * (1 + max(y for _, y in taken))
    ids = [panel["id"] for panel in RENDERED[name]["panels"]]
    assert len(set(ids)) == len(ids)


@EVERY_PANEL
def test_a_panel_says_what_it_shows(name: str, panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["datasource"] == SOURCE
    assert panel["targets"]
    if panel["type"] == "heatmap":
        assert panel["options"]["yAxis"]["unit"] in UNITS
    elif panel["type"] == "table":
        overrides = panel["fieldConfig"]["overrides"]
        shown = [item for one in overrides for item in one["properties"] if item["id"] == "unit"]
        assert {item["value"] for item in shown} <= UNITS
        assert len(shown) == len(panel["targets"])
    else:
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS


@EVERY_PANEL
def test_a_panel_asks_for_metrics_that_there_are(name: str, panel: dict[str, Any]) -> None:
    variables = {"datasource", "namespace", "rljob", "__rate_interval"}
    for target in panel["targets"]:
        assert target["datasource"] == SOURCE
        assert names_in(target["expr"])
        assert names_in(target["expr"]) <= known_names()
        assert set(re.findall(r"\$(\w+)", target["expr"])) <= variables
        whole = all(
            one.startswith(("rljob_operator", "ALERTS")) for one in names_in(target["expr"])
        )
        assert whole or "namespace" in target["expr"]
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)


@EVERY_PANEL
def test_a_zero_stands_for_what_is_missing_and_not_beside_it(
    name: str, panel: dict[str, Any]
) -> None:
    for target in panel["targets"]:
        expression = target["expr"]
        assert " or vector(" not in expression, "beside series with labels it is one more"
        if "_gpu_" in expression:
            assert re.search(r"\} >= 0\) or on\(\) vector\(0\)$", expression), "NaN without a GPU"
