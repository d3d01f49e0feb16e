"""The environment Grid: its rules, the textbook's utilities of its cells, and its ids."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rljob.cli.main import main
from rljob.environments.grid import MOVES, WORLD, GridWorld, follow
from rljob.envs.factory import make
from rljob.envs.vector import Environments
from rljob.errors import InputError
from rljob.spec import EnvironmentSpec

LEFT, DOWN, RIGHT, UP = range(4)
Cell = tuple[int, int]
CELLS = [(row, column) for row in range(3) for column in range(4) if WORLD[row][column] in ".S"]
ENDS = {(0, 3): 1.0, (1, 3): -1.0}


def expected(cell: Cell, action: int, value: dict[Cell, float]) -> float:
    """Of the cell that follows, by the rules in words: 0.8 there, 0.1 to each side."""
    sides = {LEFT: (UP, DOWN), RIGHT: (UP, DOWN), UP: (LEFT, RIGHT), DOWN: (LEFT, RIGHT)}[action]
    moves = ((action, 0.8), *((side, 0.1) for side in sides))
    return sum(chance * value[follow(cell, each)] for each, chance in moves)


def utilities() -> dict[Cell, float]:
    """Of each cell, the textbook's: -0.04 for being in a cell, no discount."""
    value: dict[Cell, float] = dict.fromkeys(CELLS, 0.0) | ENDS
    for _ in range(200):
        best = {cell: max(expected(cell, a, value) for a in range(4)) for cell in CELLS}
        value |= {cell: -0.04 + each for cell, each in best.items()}
    return value


def test_cells_are_worth_what_the_textbook_says() -> None:
    value = utilities()
    # Russell & Norvig, the figure of the utilities for a reward of -0.04, rows from the top.
    known = [[0.812, 0.868, 0.918, 1], [0.762, None, 0.660, -1], [0.705, 0.655, 0.611, 0.388]]
    for row, column in value:
        assert value[row, column] == pytest.approx(known[row][column], abs=5e-4)


def test_the_best_policy_gets_what_its_start_is_worth() -> None:
    value = utilities()
    best = {cell: max(range(4), key=lambda a, c=cell: expected(c, a, value)) for cell in CELLS}
    env, returns = gymnasium.make("rljob.environments:rljob/Grid-v0"), []
    for episode in range(2000):
        cell, _ = env.reset(seed=1 if episode == 0 else None)
        total, over = 0.0, False
        while not over:
            action = best[divmod(int(cell), 4)]
            cell, reward, terminated, truncated, _ = env.step(action)
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    # The reward comes with the cell that is reached, so the start's own does not count. The mean of 2000 is within
    # 0.03 of its expectation in all but one of 100,000 runs.
    assert np.mean(returns) == pytest.approx(value[2, 0] + 0.04, abs=0.03)


def test_without_slipping_the_shortest_way_gets_the_whole_reward() -> None:
    env = gymnasium.make("rljob.environments:rljob/EasyGrid-v0")
    env.reset(seed=0)
    steps = [env.step(action) for action in (UP, UP, RIGHT, RIGHT, RIGHT)]
    assert [int(step[0]) for step in steps] == [4, 0, 1, 2, 3]
    assert [step[1] for step in steps] == [0, 0, 0, 0, 1]
    assert [step[2] for step in steps] == [False] * 4 + [True]


def test_walls_are_not_entered_and_episodes_are_cut_after_50_moves() -> None:
    env = gymnasium.make("rljob.environments:rljob/EasyGrid-v0")
    env.reset()
    assert [int(env.step(action)[0]) for action in (LEFT, DOWN, RIGHT, UP, UP)] == [8, 8, 9, 9, 9]
    cuts = [env.step(DOWN)[3] for _ in range(45)]
    assert cuts == [False] * 44 + [True]


def test_moves_go_astray_to_both_sides_and_never_back() -> None:
    """In the middle of the lower row: 1 move of 10 goes to each side."""
    env, start, count = GridWorld(), (2, 2), 20_000
    env.reset(seed=3)
    for action in range(4):
        reached: dict[int, int] = {}
        for _ in range(count):
            env._at = start
            cell = int(env.step(np.int64(action))[0])
            reached[cell] = reached.get(cell, 0) + 1
        chances: dict[int, float] = {}
        for each, chance in zip(
            ((action - 1) % 4, action, (action + 1) % 4), (0.1, 0.8, 0.1), strict=True
        ):
            row, column = follow(start, each)
            chances[4 * row + column] = chances.get(4 * row + column, 0) + chance
        assert reached.keys() == chances.keys()
        for cell, chance in chances.items():
            assert reached[cell] / count == pytest.approx(chance, abs=0.02)


def test_actions_that_follow_each_other_are_sides() -> None:
    for one, other in pairwise((*MOVES, MOVES[0])):
        assert np.dot(one, other) == 0


def test_it_keeps_to_gymnasiums_rules_and_repeats_with_a_seed() -> None:
    env = gymnasium.make("rljob.environments:rljob/Grid-v0", render_mode="rgb_array")
    check_env(env.unwrapped)


def test_a_picture_shows_where_it_is() -> None:
    env = GridWorld(render_mode="rgb_array")
    env.reset(seed=0)
    picture: Any = env.render()
    assert (picture.shape, picture.dtype) == ((96, 128, 3), np.uint8)
    assert picture[80, 16].tolist() == [40, 90, 200]
    assert picture[16, 112].tolist() != picture[48, 112].tolist()
    assert GridWorld().render() is None


def test_a_wrong_probability_is_refused() -> None:
    spec = EnvironmentSpec(id="rljob/Grid-v0", kwargs={"move_probability": 2})
    with pytest.raises(InputError, match="move_probability is 2; a number from 0 to 1"):
        make(spec, 1)


def test_jobs_name_it_and_a_misspelled_id_is_told() -> None:
    environments = Environments(EnvironmentSpec(id="rljob/Grid-v0"), 3)
    assert str(environments.spaces.observation) == "Discrete(12)"
    assert environments.reset(7).tolist() == [8, 8, 8]
    environments.close()
    with pytest.raises(InputError, match=r"did you mean rljob/(Easy)?Grid-v0"):
        make(EnvironmentSpec(id="rljob/Gird-v0"), 1)
    with pytest.raises(InputError, match="not registered") as caught:
        make(EnvironmentSpec(id="rljob/Chess-v0"), 1)
    assert "pip install" not in str(caught.value)


def test_it_is_listed_with_its_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["environments", "-o", "json"]) == 0
    listed = {each["id"]: each for each in json.loads(capsys.readouterr().out)["environments"]}
    grid = listed["rljob/Grid-v0"]
    assert (grid["group"], grid["observation"]) == ("rljob", "Discrete(12)")
    assert (grid["maxEpisodeSteps"], grid["solvedReturn"]) == (50, 0.65)
    assert "QLearning" in grid["algorithms"]
    assert listed["rljob/EasyGrid-v0"]["solvedReturn"] == 0.9
