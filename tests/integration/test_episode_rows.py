"""A row for each training episode, also of a run whose learner was killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import rljob
from tests.integration.test_run import Place, result, trains, until

MODULE = '''
from walks import Walk


class Scoring(Walk):
    """Scores two points for each step."""

    def step(self, action):
        observation, reward, terminated, truncated, _ = super().step(action)
        return observation, reward, terminated, truncated, {"score": 2 * self.now, "won": "yes"}
'''


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    (tmp_path / "scores.py").write_text(MODULE)
    yield made
    made.close()


def test_each_episode_has_one_row(place: Place) -> None:
    environment = {"entryPoint": "scores:Scoring", "info": ["score", "won"]}
    stop, checkpoint = {"steps": 60_000}, {"interval": "200ms"}
    file = place.write(environment=environment, stop=stop, checkpoint=checkpoint)
    process = place.start("run", file, "--plain", "--dir", "run")
    folder = place.folder / "run"
    until(lambda: process.poll() is not None or trains(folder, 5000))
    os.kill(place.processes()["learner-0"], signal.SIGKILL)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    rows = rljob.Result.read(folder).episode_history()
    assert result(folder)["restarts"] >= 1
    assert len(rows["length"]) == result(folder)["episodes"] > 4000
    assert set(rows["length"]) == set(rows["return"]) == {10}
    np.testing.assert_allclose(rows["discounted_return"], (1 - 0.99**10) / (1 - 0.99))
    assert set(rows["info.score"]) == {20}
    assert np.isnan(rows["info.won"]).all()
    assert set(rows["rollout"]) == {"rollout-0", "rollout-1"}
    assert (np.diff(rows["steps"]) >= 0).all()
    assert 0 <= rows["policy_version"].min() < rows["policy_version"].max()
    log = (folder / "logs" / "rollout-0.log").read_text()
    assert log.count("environment.info: won is 'yes' (str), expected one number") == 1
    last = rljob.Result.read(folder).history()
    assert (last["mean_length"][-1], last["info.score"][-1]) == (10, 20)
