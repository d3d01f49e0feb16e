"""What a real API server makes of RLJobs: the same verdicts as the local parser, in much the same words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rljob import algorithms, spec
from rljob.algorithms.settings import check_settings
from rljob.errors import InputError
from rljob.kube.crd import definition
from tests.apiserver import ApiServer
from tests.controlplane.jobs import create, message_of, path_of, try_to_create
from tests.unit.specs import BAD, GOOD, Job, job

ROOT = Path(__file__).parents[2]
EXAMPLES = [
    file
    for file in sorted((ROOT / "examples").rglob("*.yaml"))
    if "kind: RLJob" in file.read_text()
]

# Good jobs that a create of ours cannot carry, and why. Each has a test of its own below.
NOT_CREATED_AS_THEY_ARE = {
    "stored-by-kubernetes": "its resourceVersion and status are the API server's to write",
    "whole-numbers-as-floats": "clients in Go, kubectl too, write 1e6 as 1000000 before they send it",
}


# What means something on one machine only.
NOT_ON_A_CLUSTER = {"a folder of this machine": job(initFrom={"run": "runs/a-1"})}


def refuse_locally(content: Job) -> str:
    """What `rljob run` says of names and settings that no built-in one has."""
    parsed = spec.parse(content)
    try:
        check_settings(parsed)
    except InputError as error:
        return " ".join(str(error).split())
    pytest.fail("it is not refused")


# The same verdicts


@pytest.mark.parametrize("name", [name for name in GOOD if name not in NOT_CREATED_AS_THEY_ARE])
def test_good_jobs_are_taken_and_mean_the_same(apiserver: ApiServer, name: str) -> None:
    answer = try_to_create(apiserver, GOOD[name])
    assert answer.status == 201, answer.body
    assert spec.parse(answer.body).spec == spec.parse(GOOD[name]).spec


@pytest.mark.parametrize("name", NOT_ON_A_CLUSTER)
def test_what_is_of_one_machine_is_refused(apiserver: ApiServer, name: str) -> None:
    spec.parse(NOT_ON_A_CLUSTER[name])
    message = message_of(try_to_create(apiserver, NOT_ON_A_CLUSTER[name]))
    assert "spec.initFrom.run" in message
    assert "is not allowed on a cluster" in message


def test_what_is_stored_tells_the_defaults(apiserver: ApiServer) -> None:
    stored = try_to_create(apiserver, job()).body["spec"]
    assert stored["network"] == {"name": "mlp", "config": {}}
    assert stored["rollout"] == {"replicas": 2, "precision": "float32"}
    assert stored["checkpoint"]["interval"] == "60s"
    assert "seed" not in stored
    assert "evaluation" not in stored


@pytest.mark.parametrize(("bad", "path"), [row[1:3] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_jobs_are_refused(apiserver: ApiServer, bad: Job, path: str) -> None:
    message = message_of(try_to_create(apiserver, bad))
    section = path.split(".")[0]
    other_words = {"metadata": ("metadata", "ObjectMeta"), "apiVersion": ("API version",)}
    assert any(word in message for word in other_words.get(section, (section,)))


def test_every_rule_refuses_something_in_its_own_words(apiserver: ApiServer) -> None:
    jobs = [*(bad for _, bad, _, _ in BAD), *NOT_ON_A_CLUSTER.values()]
    answers = [try_to_create(apiserver, bad) for bad in jobs]
    said = "\n".join(str(answer.body["message"]) for answer in answers)
    schema = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    # Those of an update, and of names and settings, are tried elsewhere.
    messages = {
        rule["message"].removeprefix("the name ")
        for rule in every_rule(schema)
        if "oldSelf" not in rule["rule"] and not rule["message"].startswith("unknown ")
    }
    assert len(messages) >= 12
    assert {message for message in messages if message not in said} == set()


def test_a_job_got_from_a_cluster_can_be_applied_elsewhere(
    apiserver: ApiServer, namespace: str
) -> None:
    create(apiserver, job(), namespace)
    stored = apiserver.kubectl("-n", namespace, "get", "rlj/test", "-o", "yaml").stdout
    again = apiserver.kubectl("-n", namespace, "apply", "-f", "-", stdin=stored)
    assert again.returncode == 0, again.stderr
    assert spec.parse(stored).spec == spec.parse(job()).spec


def test_numbers_with_an_exponent_come_through_kubectl(
    apiserver: ApiServer, namespace: str
) -> None:
    text = json.dumps(GOOD["whole-numbers-as-floats"]).replace("1000000.0", "1e6")
    assert "1e6" in text
    assert "2.0" in text
    done = apiserver.kubectl("-n", namespace, "create", "-f", "-", stdin=text)
    assert done.returncode == 0, done.stderr
    stored = apiserver.call("GET", path_of(namespace, "test")).body
    assert stored["spec"]["stop"] == {"steps": 1_000_000}
    assert spec.parse(stored).spec == spec.parse(GOOD["whole-numbers-as-floats"]).spec


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_examples_are_taken(apiserver: ApiServer, namespace: str, file: Path) -> None:
    done = apiserver.kubectl("-n", namespace, "create", "--dry-run=server", "-f", str(file))
    assert done.returncode == 0, done.stderr


# Algorithms, networks and their settings

UNKNOWN = {
    "algorithm": job(algorithm={"name": "PPOO"}),
    "network": job(network={"name": "rnn"}),
    "snake-case": job(algorithm={"name": "PPO", "config": {"learning_rate": 1e-3}}),
    "of-another-algorithm": job(algorithm={"name": "DQN", "config": {"clip": None}}),
    "of-the-default-network": job(network={"config": {"Hidden": [64]}}),
    "network-of-the-algorithm": job(algorithm={"name": "SAC"}, networks={"actor": {}}),
    "network-to-start-with": job(initFrom={"run": "/a", "networks": ["polcy"]}),
    "network-of-an-algorithm-without": job(algorithm={"name": "QLearning"}, networks={"q": {}}),
    "named-network": job(networks={"policy": {"name": "rnn"}}),
    "of-a-named-network": job(network={"name": "mlp", "config": {"hidden": [], "nothing": 1}}),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_names_are_refused_in_the_same_words(apiserver: ApiServer, name: str) -> None:
    _, _, local = refuse_locally(UNKNOWN[name]).rpartition(": unknown")
    words = ("unknown" + local).split(" Did you mean ")[0].split(". ")
    message = message_of(try_to_create(apiserver, UNKNOWN[name]))
    for sentence in words:
        assert sentence.rstrip(".") in message


def test_the_setting_that_was_meant_is_named(apiserver: ApiServer) -> None:
    content = job(algorithm={"name": "PPO", "config": {"learning_rate": 1e-3, "clip": 0.1}})
    assert (
        "spec.algorithm.config: Invalid value: learning_rate: unknown setting of PPO. "
        "Did you mean learningRate? PPO knows: learningRate, rolloutLength"
    ) in message_of(try_to_create(apiserver, content))


@pytest.mark.parametrize(
    "own", [{"name": "gru", "config": {"shared": True}}, {"config": {"size": 8}}]
)
def test_settings_of_a_named_network_are_those_of_its_kind(
    apiserver: ApiServer, own: dict[str, Any]
) -> None:
    content = job(networks={"policy": own})
    assert "unknown setting of" in refuse_locally(content)
    said = (
        "spec.networks: Invalid value: unknown setting of a network. mlp knows: hidden, activation"
    )
    assert said in message_of(try_to_create(apiserver, content))


def test_a_named_network_cannot_be_changed(apiserver: ApiServer, namespace: str) -> None:
    create(apiserver, job(networks={"policy": {"learningRate": 1e-3}}), namespace)
    path = path_of(namespace, "test")
    stored = apiserver.call("GET", path).body
    stored["spec"]["networks"]["policy"]["learningRate"] = {"from": 1e-3, "to": 0}
    answer = apiserver.call("PUT", path, stored)
    assert answer.status == 422
    assert "spec.networks: Forbidden: cannot be changed once the job exists" in message_of(answer)


def test_a_replaced_setting_is_refused_with_the_new_form(apiserver: ApiServer) -> None:
    content = job(algorithm={"name": "DQN", "config": {"epsilonSteps": 5000}})
    assert "write epsilon: {from: 1.0, to: 0.05, steps: 5000}" in refuse_locally(content)
    said = "epsilonSteps: unknown setting of DQN. It is part of a schedule now; write epsilon: {from: 1.0,"
    assert said in message_of(try_to_create(apiserver, content))


@pytest.mark.parametrize("name", algorithms.BUILT_IN)
def test_every_setting_of_an_algorithm_is_taken(apiserver: ApiServer, name: str) -> None:
    config = algorithms.BUILT_IN[name].Config().model_dump(mode="json", by_alias=True)
    answer = try_to_create(apiserver, job(algorithm={"name": name, "config": config}))
    assert answer.status == 201, answer.body
    assert answer.body["spec"]["algorithm"]["config"] == config


def test_settings_of_ones_own_are_free(apiserver: ApiServer) -> None:
    content = job(
        algorithm={"entryPoint": "mine:Algorithm", "config": {"learning_rate": [{"a": None}]}},
        network={"entryPoint": "mine:Net", "config": {"Hidden": {"b": None}}},
    )
    answer = try_to_create(apiserver, content)
    assert answer.status == 201, answer.body
    assert answer.body["spec"]["algorithm"] == content["spec"]["algorithm"]
    assert answer.body["spec"]["network"] == content["spec"]["network"]


def test_values_of_settings_are_left_to_the_learner(apiserver: ApiServer) -> None:
    # Rules in CEL see no value below a field of any type.
    content = job(algorithm={"name": "PPO", "config": {"learningRate": 7}})
    assert "learningRate: 7 is not allowed" in refuse_locally(content)
    assert try_to_create(apiserver, content).status == 201


# The definition itself


def test_it_is_small_enough_to_be_applied_from_a_client(apiserver: ApiServer) -> None:
    file = ROOT / "crds" / "rljobs.rljob.dev.yaml"
    assert file.stat().st_size < 200_000
    done = apiserver.kubectl("apply", "--dry-run=server", "-f", str(file))
    assert done.returncode == 0, done.stderr


def test_the_api_server_finds_nothing_wrong_with_it(apiserver: ApiServer) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rljobs.rljob.dev"
    conditions = apiserver.call("GET", path).body["status"]["conditions"]
    held = {one["type"]: one["status"] for one in conditions}
    assert held.pop("NonStructuralSchema", "False") == "False"
    assert held == {"NamesAccepted": "True", "Established": "True"}


def every_rule(schema: dict[str, Any]) -> Iterator[dict[str, str]]:
    yield from schema.get("x-kubernetes-validations", ())
    for field in schema.get("properties", {}).values():
        yield from every_rule(field)
