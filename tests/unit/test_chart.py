"""The chart's values: what the comments, the schema and the operator say of them is the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts import values_table
from rljob import __version__
from rljob.kube.settings import REGISTRY, OperatorSettings
from rljob_operator.config import Config

CHARTS = Path(__file__).parents[2] / "charts"
CHART = CHARTS / "rljob-operator"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())


ROWS = values_table.values((CHART / "values.yaml").read_text())


def declared(schema: dict[str, Any], leaves: set[str], prefix: str = "") -> Iterator[str]:
    """Paths of all values in the schema; each of its groups knows no others."""
    assert schema["additionalProperties"] is False, prefix
    for name, inner in schema["properties"].items():
        path = prefix + name
        if path in leaves or "properties" not in inner:
            yield path
        else:
            yield from declared(inner, leaves, f"{path}.")


def test_the_schema_has_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    leaves = {row.path for row in ROWS}
    # Helm passes `global` on to every part of a chart.
    assert set(declared(schema, leaves)) == leaves | {"global"}


def test_every_value_is_described() -> None:
    assert len({row.path for row in ROWS}) == len(ROWS) > 60
    assert all(row.meaning.endswith(".") for row in ROWS)
    text = (CHART / "README.md").read_text()
    assert values_table.readme(text, ROWS) == text


def test_a_value_without_a_comment_is_named() -> None:
    with pytest.raises(ValueError, match=r"b\.c: no comment"):
        values_table.values("b:\n  # Described.\n  a: 1\n\n  c: 2\n")


def test_defaults_are_those_of_the_operator() -> None:
    operator, jobs, default = VALUES["operator"], VALUES["jobs"], Config()
    settings = default.settings
    for name, value in operator.items():
        key = re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name)
        assert value == getattr(default, key, getattr(settings, key, None)), name
    assert jobs["checkpointSize"] == settings.checkpoint_size
    assert jobs["restrictEgress"] == settings.restrict_egress
    assert VALUES["lease"]["enabled"] == default.lease
    assert VALUES["service"]["port"] == default.port
    assert VALUES["image"]["repository"] == f"{REGISTRY}/rljob-operator"


def test_the_chart_installs_this_definition() -> None:
    """`make generate` copies it."""
    for file in (CHARTS.parent / "crds").glob("*.yaml"):
        assert (CHART / "definitions" / file.name).read_text() == file.read_text()


def test_the_chart_installs_this_release() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
    assert OperatorSettings().worker_image.endswith(f":{chart['appVersion']}")
