"""What `rljob status` and `--watch` show of jobs on a real API server."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from rljob import spec
from tests.controlplane import node
from tests.controlplane.client import (
    COMPLETE,
    FAILED,
    FILE,
    PATIENCE,
    Client,
    ended,
    lines_of,
    rest_of,
)
from tests.unit.clusterjobs import TRAINING


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(FILE)
    return path


def test_the_table_is_that_of_kubectl(rljob: Client) -> None:
    assert rljob("status") == (0, "", f"there is no RLJob in namespace {rljob.namespace}\n")
    rljob.create()
    rljob.status(TRAINING | {"applications": {"connected": 3}})
    _, out, _ = rljob("status", "-o", "wide")
    theirs = rljob.server.kubectl("get", "rlj", "-n", rljob.namespace, "-o", "wide").stdout
    head, row = (dict(zip(out.split("\n")[0].split(), line, strict=True)) for line in _rows(out))
    kubectl_head, kubectl_row = _rows(theirs)
    assert list(head) == kubectl_head
    expected = dict(zip(kubectl_head, kubectl_row, strict=True))
    for column in ("NAME", "PHASE", "ROLLOUTS", "APPS", "LEARNER", "STEP", "STEPS/S", "LAG"):
        assert row[column] == expected[column], column
    assert (row["CHECKPOINT"], row["REASON"]) == (expected["CHECKPOINT"], expected["REASON"])
    code, out, error = rljob("status", "-A")
    assert (code, error) == (0, "")
    assert out.split()[0] == "NAMESPACE"


def test_a_status_of_another_version_does_not_hide_the_others(rljob: Client) -> None:
    rljob.create()
    rljob.status({"phase": "Dreaming"})
    code, out, error = rljob("status")
    assert (code, error) == (0, "")
    assert _rows(out)[1][:2] == ["test", "Unknown"]


def _rows(table: str) -> list[list[str]]:
    return [re.split(r"\s{3,}", line.strip()) for line in table.strip().splitlines()]


def test_other_forms_are_the_objects_themselves(rljob: Client) -> None:
    rljob.create()
    one = json.loads(rljob("status", "test", "-o", "json")[1])
    assert one["metadata"]["name"] == "test"
    assert "managedFields" not in one["metadata"]
    every = yaml.safe_load(rljob("status", "-o", "yaml")[1])
    assert (every["kind"], every["items"][0]["spec"]) == ("List", one["spec"])
    assert every["items"][0]["kind"] == "RLJob"
    assert rljob("status", "-o", "name")[1] == "rljob.rljob.dev/test\n"
    # What is shown can be submitted again.
    assert spec.parse(one).metadata.name == "test"


def test_one_job_is_shown_with_its_events(rljob: Client) -> None:
    rljob.create()
    rljob.status(TRAINING)
    rljob.event("rollout x was evicted", "Warning")
    code, out, _ = rljob("status", "test")
    assert code == 0
    for text in ("Training · created", "81,920 of 1,000", "Unschedulable: 0/2 nodes", "OOMKilled"):
        assert text in out
    assert re.search(r"ago +Noticed +rollout x was evicted\n$", out)


def test_options_that_contradict_each_other_are_refused(rljob: Client) -> None:
    for arguments in (["x", "-A"], ["-w", "-o", "json"]):
        code, _, err = rljob("status", *arguments)
        assert code == 2
        assert "cannot be combined" in err


# ---- watching


@pytest.mark.parametrize(
    ("conditions", "code", "words"),
    [
        (COMPLETE, 0, "Solved in 1m 50s (81,920 steps)."),
        (FAILED, 1, "Failed after 81,920 steps, 1m 50s: it failed 4 times"),
    ],
)
def test_a_watched_job_is_shown_to_its_end(
    rljob: Client, file: Path, conditions: list[Any], code: int, words: str
) -> None:
    process = rljob.start("submit", str(file), "--watch")
    with ended(process):
        lines_of(process, "rljob.rljob.dev/test created")
        rljob.status({"phase": "Starting"})
        lines_of(process, "Starting")
        rljob.status(TRAINING)
        rljob.event("rollout x was replaced")
        lines_of(process, " steps 81920 ", "rollout x was replaced", "           Training\n")
        rljob.status({"phase": conditions[0]["type"], "conditions": conditions})
        lines_of(process, words)
        out, err = rest_of(process)
        assert (process.returncode, err) == (code, "")
        assert f"rljob get-policy test --out test --kubeconfig {rljob.kubeconfig} -n " in out


def test_interrupting_leaves_the_job_alone(rljob: Client) -> None:
    rljob.create()
    rljob.status(TRAINING)
    process = rljob.start("status", "test", "--watch")
    with ended(process):
        lines_of(process, " steps 81920 ")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err.startswith("test continues on the cluster; to watch it again: rljob status test -")
    assert rljob.get() is not None


def test_a_job_that_is_deleted_or_replaced_ends_the_watching(rljob: Client) -> None:
    rljob.create()
    process = rljob.start("status", "test", "--watch")
    with ended(process):
        lines_of(process, "Pending")
        assert rljob("delete", "test")[0] == 0
        rljob.create()
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (1, "RLJob test was deleted\n")


def test_an_api_server_that_is_away_is_waited_for(rljob: Client, tmp_path: Path) -> None:
    rljob.create()
    rljob.status(TRAINING)
    with node.running(rljob.server, rljob.namespace, tmp_path) as before:
        rljob.kubeconfig = before.kubeconfig
        process = rljob.start("status", "test", "--watch")
        with ended(process):
            lines_of(process, " steps 81920 ")
            before.away = True
            lines_of(process, "trying again")
            before.away = False
            rljob.status({"phase": "Complete", "conditions": COMPLETE})
            process.communicate(timeout=PATIENCE)
            assert process.returncode == 0


def test_a_watched_table_tells_only_what_changes(rljob: Client) -> None:
    rljob.create()
    process = rljob.start("status", "--watch")
    with ended(process):
        lines_of(process, "Pending")
        rljob.status(TRAINING)
        assert lines_of(process, "Training").count("\n") == 1
