"""Which fields of an RLJob an update may change: those of how it runs, and none of what it is."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from rljob import spec
from rljob.spec.cel import IMMUTABLE_KEY
from tests.apiserver import Answer, ApiServer
from tests.controlplane.jobs import create, message_of, path_of
from tests.unit.specs import SPACES, Job, job

FULL = job(
    environment={"id": "CartPole-v1", "kwargs": {"a": 1}, "spaces": SPACES},
    algorithm={"entryPoint": "algos:Mine", "config": {"a": 1}},
    network={"name": "mlp", "config": {"hidden": [1]}},
    networks={"policy": {"config": {"hidden": [1]}}},
    seed=1,
    rollout={"applications": {"flushAfter": "5s"}, "envsPerReplica": 1},
    initFrom={"run": "/a", "networks": ["policy"]},
    buffer={"samplesPerInsert": 1, "storage": {"path": "a"}},
    checkpoint={"storage": {"path": "a"}},
    code={"a.py": ""},
    codeArchive={"sha256": "ab" * 32, "size": 5},
    managedBy="example.com/me",
)
FIXED: list[tuple[str, Any]] = [
    ("environment.id", "Acrobot-v1"),
    ("environment.kwargs.a", 2),
    ("environment.kwargs", {"b": 1}),
    ("environment.maxEpisodeSteps", 5),
    ("environment.masks", False),
    ("environment.spaces.action.choices", 3),
    ("environment.spaces.observation.low", [0, 1, 2, 3]),
    ("environment.spaces.mask", True),
    ("environment.info", ["score"]),
    ("environment.discount", 0.5),
    ("algorithm.entryPoint", "algos:Other"),
    ("algorithm.config", {"b": 1}),
    ("algorithm.config.a", None),
    ("network.config.hidden", [2]),
    ("network.config.shared", True),
    ("networks.policy.config.hidden", [2]),
    ("networks.policy.learningRate", 0.1),
    ("networks.critic", {"config": {"hidden": [1]}}),
    ("seed", 2),
    ("initFrom.run", "/b"),
    ("initFrom.networks", ["policy", "other"]),
    ("strict", True),
    ("rollout.envsPerReplica", 17),
    ("rollout.applications.flushAfter", "6s"),
    ("buffer.capacity", 17),
    ("buffer.maxPolicyLag", 17),
    ("buffer.samplesPerInsert", 2),
    ("buffer.storage.path", "b"),
    ("checkpoint.storage.path", "b"),
    ("code", {"b.py": ""}),
    ("codeArchive.sha256", "cd" * 32),
    ("codeArchive.commit", "abc"),
    ("managedBy", "example.com/other"),
]
OPTIONAL = (
    "seed",
    "networks",
    "initFrom",
    "rollout.envsPerReplica",
    "rollout.applications",
    "buffer.samplesPerInsert",
    "buffer.storage",
    "checkpoint.storage",
    "code",
    "codeArchive",
    "managedBy",
)
FREE: list[tuple[str, Any]] = [
    ("stop", {"steps": 5, "updates": 6, "episodes": 7, "duration": "1h"}),
    ("rollout.replicas", 3),
    ("rollout.minReplicas", 1),
    ("rollout.maxReplicas", 5),
    ("rollout.template", {"spec": {}}),
    ("buffer.template", {"metadata": {}}),
    ("learner", {"device": "cpu", "template": {}}),
    ("evaluation", {"baseline": 5}),
    ("checkpoint.interval", "5m"),
    ("checkpoint.everySteps", 5),
    ("checkpoint.everyUpdates", 5),
    ("checkpoint.keep", 7),
    ("checkpoint.onSuspend", False),
    ("checkpoint.replay", True),
    ("sinks", {"tensorboard": {}}),
    ("hooks", {"entryPoint": "a:B", "config": {"patience": 5}}),
    ("stall", {"timeout": "10m", "policy": "Restart"}),
    ("requirements", ["a"]),
    ("image", "example.com/a"),
    ("suspend", True),
    ("backoffLimit", 0),
    ("activeDeadlineSeconds", 5),
    ("pendingDeadlineSeconds", 5),
    ("cleanPodPolicy", "All"),
    ("ttlSecondsAfterFinished", 5),
]


@pytest.fixture(scope="module")
def stored(apiserver: ApiServer) -> Job:
    """A job that has every field which an update may not change."""
    return create(apiserver, FULL, apiserver.namespace())


def changed(content: Job, path: str, value: Any) -> Job:
    """A copy with the field set; None takes it out."""
    made = copy.deepcopy(content)
    *sections, last = path.split(".")
    below = made["spec"]
    for section in sections:
        below = below[section]
    if value is None:
        below.pop(last, None)
    else:
        below[last] = value
    return made


def try_to_update(server: ApiServer, content: Job) -> Answer:
    metadata = content["metadata"]
    path = path_of(metadata["namespace"], metadata["name"])
    return server.call("PUT", path + "&dryRun=All", content)


@pytest.mark.parametrize(("path", "value"), FIXED, ids=[row[0] for row in FIXED])
def test_what_a_job_is_cannot_be_changed(
    apiserver: ApiServer, stored: Job, path: str, value: Any
) -> None:
    content = changed(stored, path, value)
    assert content != stored
    message = message_of(try_to_update(apiserver, content))
    assert "Forbidden: cannot be changed once the job exists; make a new job" in message
    assert f"spec.{path.split('.')[0]}" in message


@pytest.mark.parametrize("path", OPTIONAL)
def test_what_a_job_is_cannot_be_added_or_taken_away(
    apiserver: ApiServer, stored: Job, namespace: str, path: str
) -> None:
    words = f"spec.{path}: Forbidden: cannot be changed"
    assert words in message_of(try_to_update(apiserver, changed(stored, path, None)))
    bare = create(apiserver, job(), namespace)
    value = stored["spec"]
    for name in path.split("."):
        value = value[name]
    assert words in message_of(try_to_update(apiserver, changed(bare, path, value)))


@pytest.mark.parametrize(("path", "value"), FREE, ids=[row[0] for row in FREE])
def test_how_it_runs_can_be_changed(
    apiserver: ApiServer, stored: Job, path: str, value: Any
) -> None:
    answer = try_to_update(apiserver, changed(stored, path, value))
    assert answer.status == 200, answer.body
    assert answer.body["spec"] != stored["spec"]


def test_every_field_was_changed_above() -> None:
    schema = spec.RLJobSpec.model_json_schema()
    fixed = set(immutable_fields(schema, schema))
    assert {path for path in fixed if not any(row[0].startswith(path) for row in FIXED)} == set()
    assert {path for path, _ in FIXED if not path.startswith(tuple(fixed))} == set()
    sections = {path.split(".")[0] for path, _ in [*FIXED, *FREE]}
    assert sections == set(schema["properties"])


def test_a_replayed_apply_changes_nothing(apiserver: ApiServer, namespace: str) -> None:
    text = json.dumps(FULL)
    for said in ("created", "unchanged"):
        done = apiserver.kubectl("-n", namespace, "apply", "-f", "-", stdin=text)
        assert said in done.stdout, done.stderr


def immutable_fields(
    section: dict[str, Any], root: dict[str, Any], prefix: str = ""
) -> Iterator[str]:
    for name, field in section.get("properties", {}).items():
        if IMMUTABLE_KEY in field:
            yield prefix + name
        if "$ref" in field:
            below = root["$defs"][field["$ref"].rpartition("/")[2]]
            yield from immutable_fields(below, root, f"{prefix}{name}.")
