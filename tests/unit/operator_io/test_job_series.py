"""Metrics of single jobs: read from their status, gone with them, few."""

from __future__ import annotations

from typing import Any

from rljob.telemetry.metrics import render
from rljob_operator.telemetry.job_series import DECLARED
from rljob_operator.telemetry.metrics import OperatorMetrics

STATUS = {
    "phase": "Training",
    "roleStatuses": [
        {"name": "learner", "restarts": 2},
        {"name": "rollout", "restarts": 0, "reason": "CrashLoopBackOff"},
    ],
}


def shown(metrics: OperatorMetrics) -> set[str]:
    lines = render(metrics.registry).decode().splitlines()
    return {line for line in lines if line.startswith("rljob_operator_job_")}


def test_what_the_status_knows_is_told_until_the_job_is_gone() -> None:
    metrics = OperatorMetrics()
    new: dict[str, Any] = {}
    metrics.job_series.show([(("team", "x"), {"status": STATUS}), (("team", "new"), new)])
    x = 'rljob="x",rljob_namespace="team"'
    assert shown(metrics) == {
        f'rljob_operator_job_phase{{phase="Training",{x}}} 1.0',
        'rljob_operator_job_phase{phase="",rljob="new",rljob_namespace="team"} 1.0',
        f'rljob_operator_job_restarts_total{{{x},role="learner"}} 2.0',
        f'rljob_operator_job_restarts_total{{{x},role="rollout"}} 0.0',
        f'rljob_operator_job_waiting{{reason="CrashLoopBackOff",{x},role="rollout"}} 1.0',
    }
    metrics.job_series.show(())
    assert shown(metrics) == set()


def test_they_are_declared() -> None:
    text = render(OperatorMetrics().registry).decode()
    for one in DECLARED:
        assert f"# TYPE {one.name} {one.type}" in text
