"""An operator that Prometheus scrapes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.controlplane.operators import NAMESPACE, Operator
from tests.monitoring.prometheus import RULES, Prometheus, running, shortened, until


@contextmanager
def scraping(operator: Operator, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus with the chart's rules that scrapes one operator."""
    folder.mkdir()
    labels = {"namespace": NAMESPACE, "pod": "operator-0"}
    targets = folder / "targets.json"
    targets.write_text(json.dumps([{"targets": [f"127.0.0.1:{operator.port}"], "labels": labels}]))
    rules = [shortened(path, folder / "rules") for path in RULES]
    with running(folder / "prometheus", [targets], rules) as prometheus:
        until(lambda: prometheus.up() == 1, "the operator is scraped")
        yield prometheus
