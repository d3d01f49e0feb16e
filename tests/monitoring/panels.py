"""Every query of every panel of the dashboards as they are committed, as Grafana would send it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.monitoring.prometheus import CHART, Prometheus


@dataclass(frozen=True)
class Asked:
    """One query.

    Attributes:
        where: dashboard, panel and letter, for messages.
    """

    where: str
    expression: str

    @property
    def of_operator(self) -> bool:
        """Whether only an operator can answer it."""
        return "rljob_operator_" in self.expression


def queries(namespace: str, job: str, rate_interval: str) -> list[Asked]:
    """All of them, with these values for the variables."""
    found = []
    for path in sorted((CHART / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                expression = target["expr"].replace("$__rate_interval", rate_interval)
                expression = expression.replace("$namespace", namespace).replace("$rljob", job)
                where = f"{path.stem}: {panel['title']} {target['refId']}"
                found.append(Asked(where, expression))
    return found


def without_data(prometheus: Prometheus, asked: list[Asked]) -> list[str]:
    """Those that give no number now."""
    return [
        f"{one.where}: {one.expression}" for one in asked if not prometheus.has_data(one.expression)
    ]
