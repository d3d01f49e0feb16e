"""What a run has reached, and when that is enough."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rljob.roles.learner.progress import WINDOW_EPISODES, StoredSteps, TrainingProgress
from rljob.spec import StopSpec


def ended(*returns: float) -> np.ndarray:
    return np.array([[value, 1.0] for value in returns], np.float64).reshape(-1, 2)


def why(progress: TrainingProgress, wanted: StopSpec) -> str:
    met = progress.reached(wanted)
    assert met is not None
    return met.reason


def stop(**values: object) -> StopSpec:
    return StopSpec.model_validate(values)


def test_the_mean_is_over_the_last_hundred_episodes() -> None:
    progress = TrainingProgress()
    assert [progress.mean_return, progress.last_return] == [None, None]
    progress.ended(ended(1.0, 3.0))
    assert [progress.mean_return, progress.last_return] == [2.0, 3.0]
    progress.ended(ended(*range(200)))
    assert progress.mean_return == np.mean(range(100, 200))
    assert progress.episodes == 202
    progress.ended(ended())
    assert progress.episodes == 202


def test_the_best_is_of_full_windows_only() -> None:
    progress = TrainingProgress()
    progress.ended(ended(*[500.0] * (WINDOW_EPISODES - 1)))
    assert progress.best_return is None
    progress.ended(ended(0.0))
    assert progress.best_return == 495.0
    progress.ended(ended(*[1.0] * WINDOW_EPISODES))
    assert progress.best_return == 495.0


def test_a_lucky_first_episode_ends_no_run() -> None:
    progress, wanted = TrainingProgress(updates=1), stop(meanReturn=475)
    progress.ended(ended(*[500.0] * (WINDOW_EPISODES - 1)))
    assert progress.reached(wanted) is None
    progress.ended(ended(500.0))
    assert why(progress, wanted) == "MeanReturnReached"
    progress.ended(ended(*[450.0] * 51))
    assert progress.reached(wanted) is None


def test_nothing_ends_a_run_before_its_first_update() -> None:
    progress = TrainingProgress(steps=100, seconds=60.0)
    progress.ended(ended(*[500.0] * WINDOW_EPISODES))
    wanted = stop(steps=100, duration="1m", meanReturn=1)
    assert progress.reached(wanted) is None
    assert not progress.out_of_time(wanted)
    progress.updates = 1
    assert progress.reached(wanted) is not None
    assert progress.out_of_time(wanted)


def test_steps_and_time_end_a_run() -> None:
    progress = TrainingProgress(updates=1)
    progress.steps, progress.seconds = 99, 59.9
    assert progress.reached(stop(steps=100, duration="1m")) is None
    progress.steps = 100
    assert why(progress, stop(steps=100, duration="1m")) == "StepsReached"
    progress.seconds = 60.0
    assert why(progress, stop(duration="1m")) == "DurationReached"
    assert progress.reached(stop(meanReturn=1)) is None


def test_updates_and_episodes_end_a_run() -> None:
    progress, wanted = TrainingProgress(updates=9), stop(updates=10, episodes=3)
    progress.ended(ended(1.0, 1.0))
    assert (progress.reached(wanted), progress.updates_left(wanted)) == (None, 1)
    progress.ended(ended(1.0))
    met = progress.reached(wanted)
    assert met is not None
    assert (met.reason, met.text) == ("EpisodesReached", "stop.episodes 3 was reached with 3")
    progress.updates = 10
    assert (why(progress, wanted), progress.updates_left(wanted)) == ("UpdatesReached", 0)
    assert progress.updates_left(stop(episodes=1)) is None


@pytest.mark.parametrize(
    ("wanted", "share"),
    [
        (stop(updates=40), 0.75),
        (stop(episodes=800), 0.25),
        (stop(updates=40, episodes=800, duration="31s"), 0.75),
        (stop(updates=40, steps=200), 0.25),
        (stop(steps=200), 0.25),
        (stop(steps=10), 1.0),
        (stop(duration="100s"), 0.3),
        (stop(duration="1s"), 1.0),
        (stop(meanReturn=5), 0.0),
        # Steps decide where there are any: what is repeated must not depend on the clock.
        (stop(steps=200, duration="31s"), 0.25),
    ],
)
def test_the_share_of_the_budget(wanted: StopSpec, share: float) -> None:
    progress = TrainingProgress(steps=50, updates=30, seconds=30.0)
    progress.ended(ended(*[9.0] * 200))
    assert progress.share(wanted) == share


def test_json_and_back() -> None:
    progress = TrainingProgress(steps=5, updates=3, seconds=1.5)
    progress.ended(ended(*range(150)))
    again = TrainingProgress.from_json(json.loads(json.dumps(progress.to_json())))
    assert again == progress
    again.ended(ended(7.0))
    assert again.last_return == 7.0
    assert len(again.to_json()["returns"]) == WINDOW_EPISODES
    fresh = TrainingProgress()
    assert TrainingProgress.from_json(json.loads(json.dumps(fresh.to_json()))) == fresh


def test_stored_steps_over_restarts_of_both_sides() -> None:
    stored = StoredSteps(arena=1, seen=100)
    assert stored.more(1, 160) == 60
    assert stored.more(1, 160) == 0
    assert stored.more(1, 150) == 0, "an old message changes nothing"
    assert stored.more(1, 160) == 0
    assert stored.more(2, 30) == 30, "a new file begins anew"
    assert stored.more(2, 40) == 10
    assert StoredSteps().more(5, 70) == 70


def test_steps_at_an_episode_do_not_depend_on_when_the_learner_heard_of_it() -> None:
    at_once, later = StoredSteps(), StoredSteps()
    ended = np.array([40, 90])
    total = 1000 + at_once.more(3, 90)
    assert at_once.then(total, ended).tolist() == [1040, 1090]
    total = 1000 + later.more(3, 500)
    assert later.then(total, ended).tolist() == [1040, 1090]
