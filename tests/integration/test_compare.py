"""Two policies in the same episodes: pairs begin alike whatever was played before, and the difference has its error."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import rljob
from rljob.algorithms.base import Place, Policy, Seen
from rljob.cli.main import main as command
from rljob.envs.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace, Space, Spaces
from rljob.errors import InputError
from rljob.nets.acting import ActingNetworks
from rljob.roles.evaluator.random_play import AtRandom
from tests.integration.doors import Doors
from tests.integration.test_evaluator import run_folder


class Drawn(gymnasium.Env[np.ndarray, np.int64]):
    """The return is a number drawn at the reset, and 1 more for each action 1. Each step draws too, and an episode has
    as many steps as its actions want: without a seed for each episode, no two players would see the same numbers."""

    observation_space = spaces.Box(0, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.left, self.start = 5, float(self.np_random.integers(10**6))
        return self.np_random.random(2, np.float32), {}

    def step(self, action: np.int64) -> Any:
        self.left -= 1 + int(action)
        reward, self.start = self.start + int(action), 0.0
        return self.np_random.random(2, np.float32), reward, self.left <= 0, False, {}


DRAWN = {"entryPoint": f"{__name__}:Drawn"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of the same environment, by two algorithms, with weights as they begin."""
    folder = tmp_path_factory.mktemp("runs")
    first = run_folder(folder / "first", environment=DRAWN)
    return first, run_folder(folder / "second", environment=DRAWN, algorithm={"name": "DQN"})


def test_the_result_of_a_run_is_taken(runs: tuple[Path, Path]) -> None:
    counts: dict[str, Any] = dict.fromkeys(("steps", "episodes", "updates", "policy_version"), 1)
    result = rljob.Result(
        "Complete",
        "StepsReached",
        1.0,
        1.0,
        seconds=1.0,
        seed=0,
        versions={},
        folder=runs[0],
        **counts,
    )
    found = rljob.compare(result, result, episodes=2, seed=4)
    assert found.difference == 0
    with pytest.raises(InputError, match="is no run; give its folder as a text or a Path, or its"):
        rljob.compare(runs[0], 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("episodes", [2, 16, 37])
def test_pairs_begin_alike(runs: tuple[Path, Path], episodes: int) -> None:
    for other in (runs[1], "random"):
        found = rljob.compare(runs[0], other, episodes=episodes, seed=4)
        apart = found.first.returns - found.second.returns
        assert len(apart) == found.episodes == episodes
        # The starts have six digits; what actions add has one.
        assert np.abs(apart).max() <= 5
        assert len(set(np.floor(found.first.returns / 10))) > 1
        assert found.difference == pytest.approx(apart.mean())
        assert found.standard_error == pytest.approx(np.std(apart, ddof=1) / math.sqrt(episodes))
        again = rljob.compare(runs[0], other, episodes=episodes, seed=4)
        assert again.second.returns.tolist() == found.second.returns.tolist()


def test_without_a_seed_one_is_drawn_and_told(runs: tuple[Path, Path]) -> None:
    first, second = (rljob.compare(*runs, episodes=2) for _ in range(2))
    assert first.seed != second.seed
    again = rljob.compare(*runs, episodes=2, seed=first.seed)
    assert again.first.returns.tolist() == first.first.returns.tolist()


def test_a_policy_is_as_good_as_itself(runs: tuple[Path, Path]) -> None:
    found = rljob.compare(runs[0], runs[0] / "checkpoints", episodes=20)
    assert (found.difference, found.standard_error) == (0.0, 0.0)


def test_the_command_prints_the_difference(
    runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", str(runs[0]), "--against", "random", "--episodes", "8", "--seed", "1"]
    assert command([*words, "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert (numbers["episodes"], numbers["seed"], len(numbers["second"]["returns"])) == (8, 1, 8)
    assert command(words) == 0
    out = capsys.readouterr().out
    assert "8 pairs of greedy episodes, seed 1" in out
    assert f"{numbers['difference']:,.2f} ± " in out.splitlines()[-1]
    assert "(standard error)" in out


def test_what_cannot_be_compared_is_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    other = run_folder(tmp_path / "other", environment={"id": "CartPole-v1", "maxEpisodeSteps": 5})
    with pytest.raises(
        InputError, match=r"the environment of .*other is .*CartPole-v1.*maxEpisode.*Drawn"
    ):
        rljob.compare(runs[0], other)
    with pytest.raises(InputError, match="episodes: 1 is not allowed; a whole number from 2"):
        rljob.compare(*runs, episodes=1)
    wrong: Any
    for wrong in ("5", 2.5, True):
        with pytest.raises(InputError, match=r"episodes: .* is not allowed; a whole number from 2"):
            rljob.compare(*runs, episodes=wrong)
    for wrong in (-1, 2**32, "1"):
        with pytest.raises(InputError, match=r"seed: .* is not allowed; a whole number from 0 to"):
            rljob.compare(*runs, seed=wrong)
    wrong = None
    with pytest.raises(InputError, match="null is no run; give its folder"):
        rljob.compare(wrong)
    with pytest.raises(InputError, match="no whole checkpoint in"):
        rljob.compare(runs[0], tmp_path / "nothing")


@pytest.mark.parametrize(
    ("space", "low", "high"),
    [
        (DiscreteSpace(3), 0, 2),
        (MultiDiscreteSpace((2, 3)), 0, 2),
        (BoxSpace((2,), low=-5, high=5), -1, 1),
        (BoxSpace((2,)), -9, 9),
    ],
    ids=str,
)
def test_random_actions_are_of_the_space(space: Space, low: float, high: float) -> None:
    algorithm = AtRandom(AtRandom.Config(), Spaces(BoxSpace((1,)), space))
    networks = ActingNetworks({})
    place = Place(500, np.random.default_rng(0), total=500, greedy=True)
    actor = algorithm.actor(Policy(networks, 500), place)
    none = np.zeros(500, np.bool_)
    action = actor.act(Seen(np.zeros((500, 1)), none, ~none, np.zeros(500), None)).action
    assert action.shape == (500, *space.shape)
    assert low <= action.min() < action.max() <= high
    if not isinstance(space, BoxSpace):
        assert set(action.reshape(500, -1)[:, -1].tolist()) == {0, 1, 2}


def test_random_actions_are_those_that_masks_allow(tmp_path: Path) -> None:
    # Doors raises where a closed one is taken.
    environment = {"entryPoint": f"{Doors.__module__}:Doors", "kwargs": {"nvec": [2, 3]}}
    found = rljob.compare(run_folder(tmp_path / "run", environment=environment), episodes=20)
    assert found.second.lengths.tolist() == [10] * 20
