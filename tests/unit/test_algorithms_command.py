"""`rljob algorithms`: what it says is what the algorithms check."""

from __future__ import annotations

import json
import re
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic.alias_generators import to_camel

from rljob.algorithms import BUILT_IN, fitting
from rljob.algorithms.base import AlgorithmConfig
from rljob.algorithms.built_in.ppo import PPOConfig
from rljob.cli.main import main
from rljob.cli.schedule_plot import _schedule
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.errors import InputError
from rljob.show.view.chart import chart
from tests.unit.specs import job


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["algorithms", *arguments]) == 0
    return capsys.readouterr().out


def test_all_algorithms_have_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    head, *lines = printed(capsys).splitlines()
    assert head.split() == ["NAME", "DATA", "OBSERVATIONS", "ACTIONS", "ABOUT"]
    assert [line.split()[0] for line in lines] == list(BUILT_IN)
    found = {line.split()[0]: line.split()[1:5] for line in lines}
    assert found["PPO"] == ["on-policy", "any", "any", "Proximal"]
    assert found["DQN"] == ["replay", "any", "Discrete", "Deep"]
    assert "Networks: policy, critic.\n" in printed(capsys, "SAC")
    assert "Networks: none.\n" in printed(capsys, "QLearning")
    assert found["QLearning"] == ["on-policy", "Discrete", "Discrete", "Q-learning"]


def test_every_setting_of_one_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "PPO").splitlines()
    names = [line.split()[0] for line in lines[lines.index("") + 2 :]]
    assert names == [to_camel(name) for name in PPOConfig.model_fields]
    (clip,) = (line for line in lines if line.startswith("clip "))
    assert re.split(" {3,}", clip)[1:] == [
        "0.2",
        "a number above 0 and at most 1000, or a schedule {from, to, steps} or null",
        "Clips the probability ratio to 1 ± clip; null, with `klPenalty`, does not.",
    ]


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
    assert found["learningRate"]["type"] == "number or object or array"


OWN = """
from pydantic import Field as Bounds
from rljob.algorithms.base import AlgorithmConfig, OnPolicy, Rate
from rljob.algorithms.schedule import Schedule
from rljob.errors import InputError


class Settings(AlgorithmConfig):
    learning_rate: Schedule[Rate] = Schedule(0.5)
    \"\"\"Step size.\"\"\"
    size: int = Bounds(default=3, ge=1, le=9)


class Mine:
    \"\"\"Learns nothing.

    More text.
    \"\"\"

    Config = Settings
    networks = {}
    fields = ()

    def __init__(self, config, spaces):
        self.data = OnPolicy(8)

    actor = learner = None


class Demanding(Mine):
    \"\"\"Cannot be made without a setting.\"\"\"

    class Config(AlgorithmConfig):
        level: str
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_algorithm.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_algorithm", raising=False)


@pytest.mark.usefixtures("own")
def test_an_algorithm_of_ones_own_has_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    about, facts, _, _, *lines = printed(capsys, "own_algorithm:Mine").splitlines()
    assert about == "own_algorithm:Mine: Learns nothing."
    assert facts == "Data: on-policy. Observations: any. Actions: any. Networks: none."
    assert [re.split(" {3,}", line) for line in lines] == [
        [
            "learningRate",
            "0.5",
            "a number above 0 and at most 1, or a schedule {from, to, steps}",
            "Step size.",
        ],
        ["size", "3", "an integer from 1 to 9"],
    ]
    drawn = printed(capsys, "own_algorithm:Mine", "--plot", "learningRate")
    assert drawn.startswith("learningRate: 0.5")


@pytest.mark.usefixtures("own")
def test_one_that_needs_settings_shows_them_too(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(printed(capsys, "own_algorithm:Demanding", "-o", "json"))
    assert (found["data"], found["networks"]) == (None, None)
    assert [(each["name"], each["required"]) for each in found["settings"]] == [("level", True)]
    text = printed(capsys, "own_algorithm:Demanding")
    assert "Data, spaces and networks are known in a job alone." in text
    assert re.search(r"level +required +text", text)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own_algorithm:Mein", "own_algorithm has no Mein. Did you mean Mine?"),
        ("own_algorithm:Settings", "own_algorithm:Settings lacks Config, actor, learner"),
        ("nowhere_at_all:Mine", "cannot import nowhere_at_all"),
        ("own_algorithm:", 'algorithm.entryPoint: "own_algorithm:" is not allowed; text like'),
    ],
)
def test_an_import_path_that_leads_nowhere_is_told(
    name: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["algorithms", name]) == 2
    assert words in capsys.readouterr().err


def test_a_schedule_is_drawn_over_its_own_length(capsys: pytest.CaptureFixture[str]) -> None:
    head, _, *rows, line, axis = printed(capsys, "DQN", "--plot", "epsilon").splitlines()
    assert head == 'epsilon: {"from": 1.0, "to": 0.05, "steps": 10000}'
    assert [row[:3] for row in rows] == ["1 ┤", *["  ┤"] * 8, "0 ┤"]
    columns = [sum(cell == "█" for cell in column) for column in zip_longest(*rows)]
    assert columns[3] == 10
    assert sorted(columns[3:], reverse=True) == columns[3:]
    assert line.strip() == "└" + 64 * "─"
    assert axis.split() == ["0", "12,500", "steps"]


def test_a_schedule_of_a_job_is_drawn_over_the_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"clip": {"from": 0.3, "to": 0.1, "share": 0.5}}
    file = tmp_path / "job.yaml"
    file.write_text(json.dumps(job(algorithm={"name": "PPO", "config": config})))
    for arguments in (("PPO",), ()):
        text = printed(capsys, *arguments, "--plot", "clip", "-f", str(file))
        assert text.splitlines()[0] == 'clip: {"from": 0.3, "to": 0.1, "share": 0.5}'
        assert text.rstrip().endswith(f"{job()['spec']['stop']['steps']:,} steps")
    assert printed(capsys, "--plot", "learningRate", "-f", str(file)) == "learningRate: 0.0003\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("PPO", "--plot", "gamma"), "gamma of PPO does not change while training; these may change: learningRate, clip"),
        (("PPO", "--plot", "epsilon"), "epsilon of PPO is unknown"),
        (("--plot", "clip"), "name an algorithm, or a job with --file"),
        (("PPO", "-f", "job.yaml"), "--file is only used with --plot"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_drawn_is_said(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["algorithms", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_drawing_starts_at_0_or_below() -> None:
    assert chart([0.0, 0.5, 1.0], 2, "0", "9 s") == [
        "1 ┤  █",
        "0 ┤ ██",
        "  └───",
        "   09 s",
    ]
    assert chart([-1.0, 0.0, 1.0], 2, "", "") == [" 1 ┤  █", "-1 ┤ ██", "   └───", ""]


def test_the_list_for_programs_is_of_the_same_objects(capsys: pytest.CaptureFixture[str]) -> None:
    each = [json.loads(printed(capsys, name, "-o", "json")) for name in BUILT_IN]
    assert json.loads(printed(capsys, "-o", "json")) == {"algorithms": each}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "PP0",
            "algorithm.name: unknown algorithm PP0. Did you mean PPO? Known: PPO, TRPO, A2C, REINFORCE, IMPALA, APPO, DQN, C51, QRDQN, IQN, R2D2, SAC, TD3, DDPG, QLearning, DynaQ, VanillaPolicy, SearchDynaQ, QLAgent57",
        ),
        ("", 'algorithm.name: "" is not allowed; text like PPO'),
    ],
)
def test_an_unknown_name_is_refused(
    name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["algorithms", name]) == 2
    assert capsys.readouterr().err.strip() == message


def test_an_algorithm_without_schedules_says_so() -> None:
    class Plain(AlgorithmConfig):
        size: int = 3

    with pytest.raises(InputError) as caught:
        _schedule(Plain(), "size", "mine:Mine")
    assert caught.value.message == (
        "the setting size of mine:Mine does not change while training; none of mine:Mine may change"
    )


def test_which_algorithms_can_use_which_actions() -> None:
    observation = BoxSpace((3,))
    assert fitting(Spaces(observation, DiscreteSpace(2))) == (
        "PPO",
        "TRPO",
        "A2C",
        "REINFORCE",
        "IMPALA",
        "APPO",
        "DQN",
        "C51",
        "QRDQN",
        "IQN",
        "R2D2",
        "SAC",
    )
    assert fitting(Spaces(observation, BoxSpace((1,)))) == (
        "PPO",
        "TRPO",
        "A2C",
        "REINFORCE",
        "IMPALA",
        "APPO",
    )
    assert fitting(Spaces(observation, BoxSpace((1,), low=-1, high=1))) == (
        "PPO",
        "TRPO",
        "A2C",
        "REINFORCE",
        "IMPALA",
        "APPO",
        "SAC",
        "TD3",
        "DDPG",
    )
    assert {"QLearning", "DynaQ"} <= set(fitting(Spaces(DiscreteSpace(3), DiscreteSpace(2))))
