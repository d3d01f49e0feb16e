"""`rljob report` of a job on a cluster, on a real API server; pods serve what roles serve."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rljob import spec
from rljob.process import downloads
from rljob.telemetry.http_server import serve_pages
from rljob.telemetry.pages import Site
from tests.controlplane.client import Client
from tests.controlplane.node import Node
from tests.controlplane.test_client_policy import save, started
from tests.unit.specs import job


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[int]:
    """What a role with this folder serves; the port."""
    server = serve_pages(Site({"/records": lambda: downloads.records(folder)}), "127.0.0.1", 0)
    try:
        yield server.port
    finally:
        server.close()


@pytest.fixture
def learner(tmp_path: Path) -> Path:
    folder = tmp_path / "learner"
    folder.mkdir()
    (folder / "job.yaml").write_text(spec.dump(spec.parse(job(evaluation={}))))
    line = {"time": 1, "seconds": 1, "steps": 64, "meanReturn": 12.5, "policyVersion": 1}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    return folder


@pytest.fixture
def evaluator(tmp_path: Path) -> Path:
    folder = tmp_path / "evaluator"
    folder.mkdir()
    line = {"time": 1, "policyVersion": 1, "mean": 33.25, "std": 0.5, "episodes": 5}
    (folder / "evaluations.jsonl").write_text(json.dumps(line) + "\n")
    return folder


def test_records_come_from_the_learner_and_the_evaluator(
    rljob: Client, machine: Node, learner: Path, evaluator: Path, tmp_path: Path
) -> None:
    for role in ("learner", "evaluator"):
        machine.pod(f"test-{role}-a", role)
    out = tmp_path / "report.html"
    with serving(learner) as one, serving(evaluator) as other:
        machine.ports = {"test-learner-a": one, "test-evaluator-a": other}
        code, text, err = rljob("report", "test", "--out", str(out))
    assert (code, text, err) == (0, f"{out}\n", "")
    page = out.read_text()
    assert "12.5" in page
    assert "33.2" in page
    assert f"job test in namespace {rljob.namespace}" in page


def test_an_evaluator_that_does_not_answer_is_done_without(
    rljob: Client, machine: Node, learner: Path, tmp_path: Path
) -> None:
    for role in ("learner", "evaluator"):
        machine.pod(f"test-{role}-a", role)
    out = tmp_path / "report.html"
    with serving(learner) as port:
        machine.ports = {"test-learner-a": port}
        code, _, err = rljob("report", "test", "--out", str(out))
    assert code == 0
    assert err.startswith("the evaluator's records are not available: ")
    assert "evaluations.jsonl has no evaluation: " in out.read_text()


def test_without_a_learner_a_pod_reads_the_records(
    rljob: Client, machine: Node, learner: Path, tmp_path: Path
) -> None:
    rljob.status({"phase": "Suspended", "lastCheckpoint": save(learner, 4)})
    with serving(learner) as port, started(machine):
        machine.ports["test-get-policy-"] = port
        code, _, err = rljob("report", "test", "--out", str(tmp_path / "report.html"))
    assert code == 0, err
    assert err.endswith("to read the records of test\n")
    assert machine.pods() == []


def test_a_job_that_is_not_there_is_told(rljob: Client, machine: Node) -> None:
    code, _, err = rljob("report", "none")
    assert code == 1
    assert "none" in err
