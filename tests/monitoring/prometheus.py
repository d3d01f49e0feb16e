"""A Prometheus of one's own, and what it is asked."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.controlplane.forks import die_with_parent

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "rljob-operator"
RULES = sorted((CHART / "rules").glob("*.yaml"))
SCRAPE_SECONDS = 1
START_SECONDS = 120.0
POLL = 0.2
_TOOLS = Path(os.environ.get("RLJOB_CACHE") or Path.home() / ".cache" / "rljob-cluster") / "bin"


def program(name: str) -> str:
    """Path of `prometheus` or `promtool`; a test fails without it, it does not skip."""
    found = shutil.which(name, path=f"{_TOOLS}:{os.environ['PATH']}")
    assert found, f"{name} is not installed: `make cluster-tools` gets it, or put it on the PATH"
    return found


def until(
    reached: Callable[[], Any], what: str | Callable[[], str], seconds: float = START_SECONDS
) -> Any:
    """Wait for something true and return it; fails naming `what` when it does not come."""
    deadline = time.monotonic() + seconds
    while not (value := reached()):
        assert time.monotonic() < deadline, (
            f"not within {seconds:g} s: {what if isinstance(what, str) else what()}"
        )
        time.sleep(POLL)
    return value


@dataclass(frozen=True)
class Sample:
    """One series of an answer and its value."""

    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class Prometheus:
    """A server that answers at `url`."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}{path}?{query}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from error

    def query(self, expression: str) -> list[Sample]:
        """What an expression gives now; a scalar is one sample without labels."""
        data = self.get("/api/v1/query", query=expression)
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        return [Sample(one["metric"], float(one["value"][1])) for one in data["result"]]

    def value(self, expression: str) -> float:
        """Of an expression that gives one number; NaN when it gives none."""
        found = self.query(expression)
        assert len(found) <= 1, f"{expression} gives {len(found)} series"
        return found[0].value if found else math.nan

    def has_data(self, expression: str) -> bool:
        """Whether it gives any number."""
        return any(not math.isnan(sample.value) for sample in self.query(expression))

    def up(self) -> int:
        """Processes of which the last scrape went well."""
        return len(self.query("up == 1"))

    def firing(self) -> set[tuple[str, str]]:
        """Alerts that fire: name, and the job or for the operator's the namespace."""
        return {
            (alert["labels"]["alertname"], alert["labels"].get("rljob", ""))
            for alert in self.get("/api/v1/alerts")["alerts"]
            if alert["state"] == "firing"
        }


def configuration(targets: Sequence[Path], rules: Sequence[Path]) -> dict[str, Any]:
    """Scrape what these files name, every second."""
    interval = f"{SCRAPE_SECONDS}s"
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [
            {
                "job_name": "rljob",
                "file_sd_configs": [
                    {"files": [str(path) for path in targets], "refresh_interval": interval}
                ],
            }
        ],
    }


@contextlib.contextmanager
def running(folder: Path, targets: Sequence[Path], rules: Sequence[Path]) -> Iterator[Prometheus]:
    """A server with its data in `folder`, for as long as the `with` lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    config, log = folder / "prometheus.yml", folder / "prometheus.log"
    config.write_text(yaml.safe_dump(configuration(targets, rules)))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--web.listen-address=127.0.0.1:0",
                "--log.format=json",
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=die_with_parent,
        )
    try:
        yield Prometheus(_address(process, log))
    finally:
        process.terminate()
        process.wait(60)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    def told() -> str:
        assert process.poll() is None, log.read_text()
        for line in log.read_text().splitlines(keepends=True):
            found = json.loads(line) if line.endswith("}\n") else {}
            if found.get("msg") == "Listening on" and "address" in found:
                return str(found["address"])
        return ""

    address = until(told, lambda: f"Prometheus listens: {log.read_text()}")
    made = Prometheus(f"http://{address}")

    def ready() -> bool:
        with contextlib.suppress(OSError, AssertionError):
            made.get("/api/v1/status/runtimeinfo")
            return True
        return False

    until(ready, lambda: f"Prometheus answers: {log.read_text()}")
    return made.url


def shortened(rule: Path, folder: Path) -> Path:
    """The same rules with a short `for`, the expressions untouched."""
    content = yaml.safe_load(rule.read_text())
    for group in content["groups"]:
        for one in group["rules"]:
            if "for" in one:
                one["for"] = "5s"
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / rule.name
    made.write_text(yaml.safe_dump(content))
    return made
