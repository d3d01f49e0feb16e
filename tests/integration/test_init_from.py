"""Real runs that start with the weights of another run, and those that are refused because they cannot."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rljob import spec
from rljob.algorithms.settings import check_settings
from rljob.checkpoints import checkpoint
from rljob.errors import InputError
from rljob.plan.job_parts import job_parts
from tests.integration.test_run import Place, job, result

TD3 = {
    "environment": {"id": "Pendulum-v1"},
    "algorithm": {"name": "TD3", "config": {"minSize": 100, "batchSize": 8}},
    "rollout": {"replicas": 1, "envsPerReplica": 2},
    "network": {"config": {"hidden": [8]}},
    "stop": {"updates": 20},
    "checkpoint": {"keep": 100},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """With a run named `first`."""
    made = Place(tmp_path_factory.mktemp("weights"))
    done = made.run("run", made.write(**TD3), "--dir", "first")
    assert done.returncode == 0, done.stderr
    yield made
    made.close()


def weights(place: Place, name: str, version: int) -> checkpoint.Snapshot:
    return checkpoint.load(place.folder / name / "checkpoints" / f"{version:012d}")


def start(place: Place, name: str, **wanted: Any) -> None:
    done = place.run("run", place.write(**TD3, initFrom=wanted, seed=5), "--dir", name)
    assert done.returncode == 0, done.stderr


def last(place: Place, name: str) -> int:
    return int(result(place.folder / name)["policyVersion"])


def equal(first: checkpoint.Snapshot, second: checkpoint.Snapshot, network: str) -> bool:
    """Whether all tensors of a network that the learner keeps are the same."""
    names = [name for name in first.tensors if name.startswith(f"{network}.")]
    assert names
    return all(np.array_equal(first.tensors[name], second.tensors[name]) for name in names)


def test_every_network_starts_with_the_last_weights_of_the_run(place: Place) -> None:
    start(place, "all", run="first")
    before, after = weights(place, "first", last(place, "first")), weights(place, "all", 0)
    parts = {name.split(".")[0] for name in before.tensors}
    assert {"policy", "critic", "target_policy", "target_critic"} <= parts, parts
    for network in ("policy", "critic"):
        assert equal(before, after, network)
        # A copy that follows a network begins as that network.
        names = [name for name in after.tensors if name.startswith(f"{network}.")]
        for name in names:
            np.testing.assert_array_equal(after.tensors[name], after.tensors[f"target_{name}"])
    # Other weights than those that the run began with would never be used.
    for wanted in ("all", "first/checkpoints/000000000000"):
        options = ("--set", "stop.updates=21", "--set", f"initFrom.run={wanted}")
        refused = place.run("run", "--resume", "--dir", "all", *options)
        assert refused.returncode == 2, refused.stdout
        assert "initFrom: " in refused.stderr
        assert "a run that is resumed goes on with its own weights, those in" in refused.stderr
    # They are trained on, and a resumed run goes on with its own.
    end = last(place, "all")
    assert not equal(after, weights(place, "all", end), "policy")
    shutil.move(place.folder / "first", place.folder / "gone")
    try:
        done = place.run("run", "--resume", "--dir", "all", "--set", "stop.updates=21")
        assert done.returncode == 0, done.stderr
    finally:
        shutil.move(place.folder / "gone", place.folder / "first")
    assert result(place.folder / "all")["updates"] == 21


def test_one_network_of_one_checkpoint(place: Place) -> None:
    start(place, "one", run="first/checkpoints/000000000000", networks=["critic"])
    before, after = weights(place, "first", 0), weights(place, "one", 0)
    assert equal(before, after, "critic")
    assert not equal(before, after, "policy")


OTHER: dict[str, tuple[dict[str, Any], str, str]] = {
    "no folder": ({"initFrom": {"run": "nothing"}}, "run", "nothing is not a folder"),
    "no checkpoint": ({"initFrom": {"run": "."}}, "run", "no whole checkpoint in ."),
    "no such network": (
        {"initFrom": {"run": "first", "networks": ["actor"]}},
        "networks.0",
        "unknown network of the algorithm. It has the networks policy, critic",
    ),
    "another network": (
        {"network": {"config": {"hidden": [8, 8], "activation": "relu", "init": "lecun"}}},
        "run",
        'is mlp {"hidden": [8], "activation": "tanh"}; that of this job is mlp {"hidden": [8, 8], "activation": "relu"}',
    ),
    "other spaces": (
        {"environment": {"id": "MountainCarContinuous-v0"}},
        "run",
        "are Box(-8.0, 8.0, (3,), float32); those of this environment are Box(-1.2",
    ),
    "another algorithm": (
        {"algorithm": {"name": "PPO"}},
        "run",
        "is mlp, with body.trunks.action.0.weight [8, 3]; that of this job is mlp",
    ),
    "other networks": ({"algorithm": {"name": "SAC"}}, "run", "the network policy of"),
}


@pytest.mark.parametrize("case", OTHER)
def test_what_differs_is_refused(place: Place, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sections, path, words = OTHER[case]
    monkeypatch.chdir(place.folder)
    content = job(**{**TD3, "initFrom": {"run": "first"}, **sections})
    with pytest.raises(InputError) as caught, job_parts(spec.parse(content), threads=1):
        pass
    assert caught.value.path == f"initFrom.{path}"
    assert words in caught.value.message


def test_a_table_has_no_networks() -> None:
    content = job(algorithm={"name": "QLearning"}, initFrom={"run": "first"})
    with pytest.raises(
        InputError, match="initFrom: is not possible: the algorithm has no networks"
    ):
        check_settings(spec.parse(content))


def test_a_run_that_is_refused_leaves_nothing(place: Place) -> None:
    network = {"config": {"hidden": [9]}}
    file = place.write(**{**TD3, "initFrom": {"run": "first"}, "network": network})
    refused = place.run("run", file, "--dir", "other")
    assert refused.returncode == 2, (refused.stdout, refused.stderr)
    assert re.match(r"job\.yaml:\d+: initFrom\.run: the network policy of", refused.stderr)
    assert not (place.folder / "other").exists()
