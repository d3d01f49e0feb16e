"""What the chart renders to under each set of values, and copies of it to change.

`make render` writes the golden files and operator/manifests/ again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.controlplane.operators import NAMESPACE, ROOT
from tests.helm import CHART, succeed

FOLDER = Path(__file__).parent / "chart"
SETS = tuple(sorted(path.name.split(".")[0] for path in FOLDER.glob("*.values.yaml")))
RELEASE = "rljob"
MONITORS = ("PodMonitor", "PrometheusRule", "ServiceMonitor")
MONITORED = ("monitoring",)
"""Sets that are rendered for a cluster with the Prometheus Operator."""
MANIFESTS = ROOT / "operator" / "manifests"
PLAIN = ROOT / "operator" / "values.yaml"
FILES = {
    "10-rbac.yaml": ("serviceaccount", "rbac"),
    "20-operator.yaml": ("deployment", "service"),
    "30-user-roles.yaml": ("user-roles",),
}
"""The manifests, each with the templates it comes from. The Namespace is not the chart's."""
_HEADER = "# Made by `make render` from charts/rljob-operator with operator/values.yaml; change it there.\n"
_SOURCE = "# Source: rljob-operator/templates/"
Object = dict[str, Any]


def values_of(name: str) -> Path:
    return FOLDER / f"{name}.values.yaml"


def golden_of(name: str) -> Path:
    return FOLDER / f"{name}.golden.yaml"


def render(chart: Path, values: Path, *options: str) -> str:
    """All objects of the chart, without asking a cluster."""
    return succeed(
        *("template", RELEASE, str(chart), "--namespace", NAMESPACE, "--values", str(values)),
        *options,
    )


def documents(text: str) -> list[Object]:
    return [found for found in yaml.safe_load_all(text) if found]


def copy_chart(folder: Path, version: str | None = None) -> Path:
    """A copy to change, with another version of its own."""
    chart = folder / CHART.name
    shutil.copytree(CHART, chart)
    if version is not None:
        edit(chart / "Chart.yaml", lambda chart: chart.update(version=version))
    return chart


def edit(path: Path, change: Callable[[Object], object]) -> None:
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))


def small_chart(folder: Path) -> Path:
    """The chart with files of a few lines for its rules, dashboards, definition and check.

    So the golden files show how such files are taken, and do not change with them.
    """
    chart = copy_chart(folder)
    for name in ("rules", "dashboards"):
        shutil.rmtree(chart / name, ignore_errors=True)
        (chart / name).mkdir()
    shutil.copy(FOLDER / "files" / "rules.yaml", chart / "rules" / "example.yaml")
    shutil.copy(FOLDER / "files" / "dashboard.json", chart / "dashboards" / "example.json")
    shutil.copy(
        FOLDER / "files" / "definition.yaml", chart / "definitions" / "rljobs.rljob.dev.yaml"
    )
    (chart / "checks" / "ready.py").write_text("print('ready')\n")
    return chart


def golden(chart: Path, name: str) -> str:
    """What the golden file of a set has to be."""
    known = MONITORS if name in MONITORED else ()
    options = [f"--api-versions=monitoring.coreos.com/v1/{kind}" for kind in known]
    return render(chart, values_of(name), *options)


def manifests() -> dict[str, str]:
    """The files of operator/manifests/ that come from the chart."""
    parts: dict[str, list[str]] = {}
    for part in ("\n" + render(CHART, PLAIN)).split("\n---\n")[1:]:
        source, _, text = part.partition("\n")
        parts.setdefault(source.removeprefix(_SOURCE).removesuffix(".yaml"), []).append(
            text.strip("\n")
        )
    return {
        file: _HEADER + "\n---\n".join(text for one in templates for text in parts[one]) + "\n"
        for file, templates in FILES.items()
    }


def main() -> None:
    for file, text in manifests().items():
        (MANIFESTS / file).write_text(text)
    with tempfile.TemporaryDirectory() as folder:
        chart = small_chart(Path(folder))
        for name in SETS:
            golden_of(name).write_text(golden(chart, name))


if __name__ == "__main__":
    main()
