"""`rljob algorithms`: what it says is what the algorithms check."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from pydantic.alias_generators import to_camel

from rljob.algorithms import BUILT_IN, fitting
from rljob.algorithms.ppo import PPOConfig
from rljob.cli.main import main
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["algorithms", *arguments]) == 0
    return capsys.readouterr().out


def test_all_algorithms_have_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    head, *lines = printed(capsys).splitlines()
    assert head.split() == ["NAME", "DATA", "ACTIONS", "ABOUT"]
    assert [line.split()[0] for line in lines] == list(BUILT_IN)
    ppo, dqn = lines
    assert "on-policy   Discrete, MultiDiscrete, Box   Proximal policy" in ppo
    assert dqn.split()[1:4] == ["replay", "Discrete", "Deep"]


def test_every_setting_of_one_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "PPO").splitlines()
    names = [line.split()[0] for line in lines[lines.index("") + 2 :]]
    assert names == [to_camel(name) for name in PPOConfig.model_fields]
    (clip,) = (line for line in lines if line.startswith("clip "))
    assert clip.split("   ", 1)[1].strip() == (
        "0.2        a number above 0 and at most 1000           "
        "Clips the probability ratio to 1 ± clip."
    )


@pytest.mark.parametrize("form", ["json", "yaml"])
@pytest.mark.parametrize("name", BUILT_IN)
def test_settings_for_programs_are_those_that_are_checked(
    form: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, name, "-o", form)
    found: dict[str, Any] = json.loads(text) if form == "json" else yaml.safe_load(text)
    config = BUILT_IN[name].Config
    defaults = {each["name"]: each["default"] for each in found["settings"]}
    assert config.model_validate(defaults, by_alias=True, by_name=False) == config()
    assert config().model_dump(by_alias=True) == defaults
    for each in found["settings"]:
        assert each["meaning"]
        assert each["allowed"]


def test_a_setting_says_its_type_and_whether_null_is_allowed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = {
        each["name"]: each for each in json.loads(printed(capsys, "PPO", "-o", "json"))["settings"]
    }
    assert found["segmentsPerBatch"]["type"] == "integer or null"
    assert found["segmentsPerBatch"]["allowed"] == "an integer from 1 to 1000000000 or null"
    assert found["normaliseRewards"]["type"] == "boolean"
    assert found["learningRateSchedule"]["allowed"] == 'one of "constant", "linear"'


def test_the_list_for_programs_is_of_the_same_objects(capsys: pytest.CaptureFixture[str]) -> None:
    each = [json.loads(printed(capsys, name, "-o", "json")) for name in BUILT_IN]
    assert json.loads(printed(capsys, "-o", "json")) == {"algorithms": each}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("PP0", "algorithm.name: unknown algorithm PP0. Did you mean PPO? Known: PPO, DQN"),
        ("", 'algorithm.name: "" is not allowed; text like PPO'),
    ],
)
def test_an_unknown_name_is_refused(
    name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["algorithms", name]) == 2
    assert capsys.readouterr().err.strip() == message


def test_which_algorithms_can_use_which_actions() -> None:
    observation = BoxSpace((3,))
    assert fitting(Spaces(observation, DiscreteSpace(2))) == ("PPO", "DQN")
    assert fitting(Spaces(observation, BoxSpace((1,)))) == ("PPO",)
