"""`targets.json` of a local run: what Prometheus is told to scrape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rljob.local.restarts import Restarts
from rljob.local.roles import Role
from rljob.local.targets import Targets


def role(name: str, port: int | None) -> Role:
    kind: Any = name.split("-")[0]
    return Role(name, kind, 0, Path("log"), Restarts(1, None), port=port)


def test_roles_that_serve_are_named_and_nobody_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "small-3"
    folder.mkdir()
    path = folder / "targets.json"
    targets, learner = Targets(path, "small"), role("learner-0", None)
    targets.show([learner])
    assert not path.exists()
    rollout = role("rollout-1", 4711)
    targets.show([learner, rollout])
    assert json.loads(path.read_text()) == [
        {
            "targets": ["127.0.0.1:4711"],
            "labels": {
                "namespace": "local",
                "rljob": "small",
                "role": "rollout",
                "pod": "rollout-1",
                "instance": "small-3/rollout-1",
            },
        }
    ]
    before = path.stat().st_mtime_ns
    targets.show([learner, rollout])
    assert path.stat().st_mtime_ns == before
    learner.port, rollout.port = 4712, 4713
    targets.show([learner, rollout])
    found = [entry["targets"] for entry in json.loads(path.read_text())]
    assert found == [["127.0.0.1:4712"], ["127.0.0.1:4713"]]
    targets.remove()
    assert list(folder.iterdir()) == []
    targets.remove()
