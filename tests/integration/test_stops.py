"""Real runs that stop by updates and by episodes, and go on from there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_run import Place, records, result

REPLAY = {"name": "DQN", "config": {"minSize": 200, "batchSize": 16, "samplesPerInsert": 8.0}}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("algorithm", [REPLAY, {"name": "PPO", "config": {"rolloutLength": 16}}])
def test_updates_are_made_exactly_also_by_a_resumed_run(
    place: Place, algorithm: dict[str, object]
) -> None:
    file = place.write(stop={"updates": 37}, algorithm=algorithm)
    ended = place.run("run", file, "--dir", "run")
    assert ended.returncode == 0, ended.stderr
    assert "(UpdatesReached)" in ended.stdout
    end = result(place.folder / "run")
    assert (end["outcome"], end["reason"], end["updates"]) == ("Complete", "UpdatesReached", 37)
    over = place.run("run", "--resume", "--dir", "run")
    assert over.returncode == 2
    assert "is complete: stop.updates 37 was reached with 37" in over.stderr
    assert "--set stop.updates=" in over.stderr

    further = place.run("run", "--resume", "--dir", "run", "--set", "stop.updates=51")
    assert further.returncode == 0, further.stderr
    after = result(place.folder / "run")
    assert (after["reason"], after["updates"]) == ("UpdatesReached", 51)
    assert after["steps"] >= end["steps"]
    assert [one["updates"] for one in records(place.folder / "run")][-1] == 51


def test_episodes_end_a_run(place: Place) -> None:
    file = place.write(
        stop={"episodes": 60, "steps": 10**9},
        algorithm={"name": "PPO", "config": {"rolloutLength": 16}},
    )
    ended = place.run("run", file, "--dir", "run")
    assert ended.returncode == 0, ended.stderr
    end = result(place.folder / "run")
    assert end["reason"] == "EpisodesReached"
    assert 60 <= end["episodes"] < 120
