"""Rules: what promtool says of them, that each alert can be acted on, and that they ask for what exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.expressions import known_names, names_in
from tests.monitoring.prometheus import ROOT, RULES, program

TESTS = sorted((Path(__file__).parent / "rules").glob("*.yaml"))
RUNBOOKS = ROOT / "docs" / "runbooks"
URL = "https://github.com/rljob/rljob/blob/main/"
HEADINGS = ["## What it means", "## Check", "## Fix", "## When it does not fire"]


def rules() -> list[dict[str, Any]]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
CASES = [
    case
    for path in TESTS
    for test in yaml.safe_load(path.read_text())["tests"]
    for case in test["alert_rule_test"]
]


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_valid() -> None:
    promtool("check", "rules", *RULES)


@pytest.mark.parametrize("path", TESTS, ids=[path.stem for path in TESTS])
def test_they_fire_when_they_should(path: Path) -> None:
    promtool("test", "rules", path)


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_was_seen_to_fire_and_not_to_fire(name: str) -> None:
    cases = [bool(case.get("exp_alerts")) for case in CASES if case["alertname"] == name]
    assert True in cases
    assert False in cases


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_says_what_it_is_and_what_to_do(name: str) -> None:
    alert = ALERTS[name]
    assert name.startswith("RLJob")
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["summary"].endswith(".")
    assert alert["annotations"]["runbook_url"] == f"{URL}docs/runbooks/{name}.md"
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## .*$", text, re.MULTILINE) == HEADINGS


def test_each_runbook_has_its_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("RLJob*.md")} == set(ALERTS)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_ask_for_metrics_that_there_are(rule: dict[str, Any]) -> None:
    assert names_in(rule["expr"])
    assert names_in(rule["expr"]) <= known_names()


def test_each_runbook_asks_for_metrics_that_there_are() -> None:
    for path in RUNBOOKS.glob("*.md"):
        for code in re.findall(r"```promql\n(.*?)```", path.read_text(), re.DOTALL):
            assert names_in(code) <= known_names(), path.name
