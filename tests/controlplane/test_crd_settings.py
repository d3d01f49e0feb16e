"""The definition with forty algorithms of thirty settings each: a real API server takes it, and it refuses what rljob does."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from rljob.errors import InputError
from rljob.kube.crd import definition
from rljob.spec.invalid import checked
from tests.apiserver import Answer, ApiServer
from tests.controlplane.jobs import message_of
from tests.unit.manyalgorithms import many
from tests.unit.specs import job

GROUP, PLURAL = "many.rljob.dev", "manyjobs"
KNOWN = "learningRate7"
GOOD: dict[str, Any] = {
    "none": {},
    "number": {KNOWN: 0.1},
    "phase": {KNOWN: {"from": 0.1, "to": 0, "steps": 100}},
    "phases": {KNOWN: [{"from": 0, "to": 0.1, "share": 0.1}, {"from": 0.1, "to": 0, "share": 0.9}]},
}
BAD: dict[str, Any] = {
    "unknown": {"learningRat7": 0.1},
    "in-snake-case": {"learning_rate7": 0.1},
    "of-another-algorithm": {"learningRate8": 0.1},
    "one-of-several": {KNOWN: 0.1, "learningRateSchedule": "linear"},
}


@pytest.fixture(scope="module")
def crowded(apiserver: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> ApiServer:
    """The server, with a second definition that has all these algorithms."""
    made = json.loads(json.dumps(definition(many())).replace("rljob.dev", GROUP))
    # Names of its own: to other tests, `rljobs` are those of the project.
    names = {"plural": PLURAL, "singular": "manyjob", "shortNames": [], "categories": []}
    made["spec"]["names"] |= names
    made["metadata"]["name"] = f"{PLURAL}.{GROUP}"
    made["spec"]["group"] = GROUP
    file = tmp_path_factory.mktemp("crd") / "crd.yaml"
    file.write_text(yaml.safe_dump(made))
    apiserver.install(file)
    # As a client applies it, with the whole definition in an annotation.
    done = apiserver.kubectl("apply", "--dry-run=server", "-f", str(file))
    assert done.returncode == 0, done.stderr
    return apiserver


def create(server: ApiServer, config: dict[str, Any]) -> Answer:
    path = f"/apis/{GROUP}/v1alpha1/namespaces/default/{PLURAL}?fieldValidation=Strict&dryRun=All"
    content = job(algorithm={"name": "Algorithm7", "config": config})
    return server.call("POST", path, {**content, "apiVersion": f"{GROUP}/v1alpha1"})


@pytest.mark.parametrize("name", GOOD)
def test_known_settings_are_taken_in_each_form(crowded: ApiServer, name: str) -> None:
    checked(many()["Algorithm7"], GOOD[name])
    answer = create(crowded, GOOD[name])
    assert answer.status == 201, answer.body
    assert answer.body["spec"]["algorithm"]["config"] == GOOD[name]


@pytest.mark.parametrize("name", BAD)
def test_unknown_settings_are_refused_by_both(crowded: ApiServer, name: str) -> None:
    with pytest.raises(InputError, match="unknown setting of Algorithm7"):
        checked(many()["Algorithm7"], BAD[name], label="Algorithm7")
    message = message_of(create(crowded, BAD[name]))
    for setting in BAD[name]:
        said = f"{setting}: unknown setting of Algorithm7." in message
        assert said == (setting != KNOWN)
    assert f"Algorithm7 knows: {KNOWN}, learningCoefficient7," in message


def test_the_new_form_of_a_replaced_setting_is_shown(crowded: ApiServer) -> None:
    message = message_of(create(crowded, BAD["one-of-several"]))
    assert "part of a schedule now; write learningRate: {from: 0.001, to: 0}." in message


def test_a_setting_in_other_letters_is_guessed(crowded: ApiServer) -> None:
    assert f"Did you mean {KNOWN}?" in message_of(create(crowded, BAD["in-snake-case"]))
