"""`rljob environments`: the list, one environment in full, and packages that are broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.envs.registration import EnvSpec

from rljob.cli.environments import detail, table, values
from rljob.cli.main import main
from rljob.envs.listing import Listed, listed, made, newest


def test_the_newest_version_of_each_is_listed() -> None:
    ids = ["Walk-v2", "Walk-v10", "other/Walk-v1", "Run-v0", "Walk-v9", "Plain"]
    entries = [EnvSpec(each, entry_point="package:make") for each in ids]
    assert [each.id for each in newest(entries)] == ["Walk-v10", "other/Walk-v1", "Run-v0", "Plain"]


def test_gymnasiums_own_are_made_and_grouped() -> None:
    environments, _ = listed()
    found = {each.id: values(each) for each in environments}
    cartpole = found["CartPole-v1"]
    assert cartpole["group"] == "classic_control"
    assert cartpole["action"] == "Discrete(2)"
    assert cartpole["algorithms"] == [
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
    ]
    assert (cartpole["maxEpisodeSteps"], cartpole["solvedReturn"]) == (500, 475)
    assert found["Pendulum-v1"]["algorithms"] == [
        "PPO",
        "TRPO",
        "A2C",
        "REINFORCE",
        "IMPALA",
        "APPO",
        "SAC",
        "TD3",
        "DDPG",
    ]
    assert found["FrozenLake-v1"]["group"] == "toy_text"
    assert "CartPole-v0" not in found
    # Old names for which Gymnasium only raises.
    assert "GymV21Environment-v0" not in found
    groups = [each.group for each in environments]
    assert all(
        groups[a] != groups[b] or groups[a] == groups[b - 1]
        for b in range(1, len(groups))
        for a in range(b)
    )


def test_others_are_listed_and_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(**_: object) -> gymnasium.Env[object, object]:
        raise AssertionError("was made")

    monkeypatch.setattr(gymnasium, "registry", {})
    gymnasium.registry["robots/Arm-v1"] = EnvSpec("robots/Arm-v1", entry_point=make)
    environments, _ = listed()
    (arm,) = (each for each in environments if each.group == "robots")
    assert arm == Listed("robots/Arm-v1", "robots")
    assert "robots   robots/Arm-v1   -        -             -" in table([arm])
    # When it is asked for, what it raises is the answer.
    assert "was made" in made(gymnasium.registry["robots/Arm-v1"]).problem


def test_what_cannot_be_trained_on_says_why() -> None:
    tuples = made(gymnasium.registry["Blackjack-v1"])
    assert tuples.spaces is None
    assert tuples.problem.startswith("the observation space Tuple(")
    assert values(tuples)["algorithms"] is None
    (row,) = (line for line in table([tuples]) if "Blackjack-v1" in line)
    assert row.endswith("is not supported")
    assert "cannot be used" in detail(values(tuples))


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("mujoco", "gymnasium[mujoco]"),
        ("jax.numpy", "gymnasium[jax]"),
        ("some_games", "some-games"),
    ],
)
def test_what_is_missing_is_named(
    module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(**_: object) -> object:
        # As Gymnasium does for its own.
        try:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        except ModuleNotFoundError as error:
            raise gymnasium.error.DependencyNotInstalled("not installed") from error

    entry = EnvSpec("Arm-v1", entry_point=make)
    monkeypatch.setitem(gymnasium.registry, entry.id, entry)
    environment = made(entry)
    assert environment.package == package
    assert table([environment])[-1] == f"pip install '{package}'   Arm-v1"


def test_an_environment_is_shown_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["environments", "Pendulum-v1", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["action"] == "Box(-2.0, 2.0, (1,), float32)"
    assert found["algorithms"] == [
        "PPO",
        "TRPO",
        "A2C",
        "REINFORCE",
        "IMPALA",
        "APPO",
        "SAC",
        "TD3",
        "DDPG",
    ]
    assert main(["environments", "Pendulum-v1"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Pendulum-v1\n")
    assert "200" in text


def test_action_masks_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    found = {name: values(made(gymnasium.registry[name])) for name in ("Taxi-v4", "CartPole-v1")}
    assert [each["masked"] for each in found.values()] == [True, False]
    assert "action masks" in detail(found["Taxi-v4"])
    assert "action masks" not in detail(found["CartPole-v1"])


def test_what_raises_at_reset_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EnvSpec("Odd-v1", entry_point=f"{__name__}:Odd")
    monkeypatch.setitem(gymnasium.registry, entry.id, entry)
    assert "raised at reset: OSError: no level" in made(entry).problem


class Odd(gymnasium.Env[Any, Any]):
    action_space: Any = gymnasium.spaces.Discrete(2)
    observation_space = gymnasium.spaces.Discrete(2)

    def reset(self, **_: object) -> tuple[Any, dict[str, Any]]:
        raise OSError("no level")


def test_an_unknown_id_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["environments", "CartPole-v7"]) == 2
    assert "did you mean CartPole-v1" in capsys.readouterr().err


def test_a_broken_package_does_not_break_the_list_and_torch_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "minigrid.py").write_text("print('welcome')\nraise RuntimeError('no display')\n")
    program = (
        "import sys; from rljob.cli.main import main; code = main(['environments', '-o', 'json'])\n"
        "sys.exit(code or main(['algorithms', 'PPO']) or 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, _ = json.JSONDecoder().raw_decode(done.stdout)
    assert "CartPole-v1" in [each["id"] for each in found["environments"]]
    assert done.stderr.count("minigrid cannot be imported: RuntimeError: no display") == 1
    assert "welcome" in done.stderr
