"""A learner of a real run is given sequences: rows that followed each other in their environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_run import Place, records, result

ENVIRONMENT = '''
import random
import gymnasium, numpy


class Counts(gymnasium.Env):
    """Its observation is (environment, episode, step), its reward the step; episodes have 3 to 7 steps."""

    observation_space = gymnasium.spaces.Box(0, 2**24, (3,), numpy.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self):
        self.number, self.episode = random.SystemRandom().randrange(2**24), -1

    def seen(self):
        return numpy.array([self.number, self.episode, self.now], numpy.float32)

    def reset(self, seed=None, options=None):
        self.episode, self.now = self.episode + 1, 0
        return self.seen(), {}

    def step(self, action):
        self.now += 1
        over = self.now == 3 + self.episode % 5
        odd = self.episode % 2 == 1
        return self.seen(), float(self.now), over and odd, over and not odd, {}
'''

ALGORITHM = '''
from rljob.algorithms.base import Acted, Actor, AlgorithmConfig, Field, Learner, Replay, Update


class Config(AlgorithmConfig):
    start: str = "row"
    period: int = 1


class Follows:
    """Checks what the learner is given; there is nothing to learn."""

    Config = Config
    networks = {}
    fields = (Field("row", "int32"), Field("priority", "float32"), Field("worth", "float32"))

    def __init__(self, config, spaces):
        self.data = Replay(segment_length=4, batch_size=16, min_size=200, samples_per_insert=8.0,
                           priority_exponent=0.5, updates_per_publish=2, length=11,
                           period=config.period, start=config.start)

    def actor(self, policy, place):
        return Random(self, policy, place)

    def learner(self, networks, seed):
        return Check(self.data)


class Random(Actor):
    def act(self, seen):
        return Acted(self.rng.integers(2, size=len(seen.valid)))

    def finish(self, segment):
        segment["row"][:] = [[t] for t in range(4)]
        segment["priority"][:] = segment["worth"][:] = 1 + segment["observation"][:4, :, 1] % 3


class Check(Learner):
    def __init__(self, data):
        self.data = data

    def update(self, batch, progress):
        data, seen, valid = self.data, batch["observation"], batch["valid"]
        assert seen.shape == (12, 16, 3) and batch["reward"].shape == valid.shape == (11, 16)
        assert valid[0].all() and (batch["row"][0] % data.period == 0).all()
        assert data.start == "row" or (seen[0, :, 2] == 0).all()
        number, episode, step = seen.astype(int).transpose(2, 0, 1)
        over = batch["terminated"] | batch["truncated"]
        for t in range(11):
            assert (number[t + 1] == number[0]).all()
            assert (episode[t + 1] == episode[t] + ~valid[t]).all()
            assert (step[t + 1] == (step[t] + 1) * valid[t]).all()
            assert (batch["reward"][t] == step[t + 1])[valid[t]].all()
            ends = valid[t] & (step[t + 1] == 3 + episode[t] % 5)
            assert (over[t] == ends).all()
            assert (batch["terminated"][t] == ends & (episode[t] % 2 == 1)).all()
            if t < 10:
                assert (valid[t + 1] == ~over[t]).all()
                assert (batch["row"][t + 1] == (batch["row"][t] + 1) % 4).all()
        # No learner sends priorities, so those of the actors decide, and no other number does.
        weight = batch["probability"] / batch["worth"][0] ** 0.5
        assert abs(weight / weight[0] - 1).max() < 1e-5
        assert (batch["stored"] > 0).all() and batch["key"].shape == (16,)
        return Update({"resets": float((~valid).sum()), "loss": 0.0})
'''


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    (tmp_path / "counts.py").write_text(ENVIRONMENT)
    (tmp_path / "follows.py").write_text(ALGORITHM)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("strict", "config"),
    [(False, {"period": 2}), (False, {"start": "episode"}), (True, {"period": 4})],
)
def test_rows_of_sequences_follow_each_other(
    place: Place, strict: bool, config: dict[str, object]
) -> None:
    job = place.write(
        environment={"entryPoint": "counts:Counts"},
        algorithm={"entryPoint": "follows:Follows", "config": config},
        rollout={"replicas": 1 if strict else 2, "envsPerReplica": 3},
        # In strict mode beyond two boundaries, at which all episodes begin anew.
        stop={"steps": 5000},
        strict=strict,
    )
    done = place.run("run", job, "--plain", "--dir", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    ended = result(place.folder / "run")
    assert (ended["outcome"], ended["restarts"]) == ("Complete", 0)
    assert ended["updates"] > 100
    assert max(each["metrics"].get("resets", 0) for each in records(place.folder / "run")) > 0


def test_check_tries_an_update_on_sequences(place: Place) -> None:
    job = place.write(
        environment={"entryPoint": "counts:Counts"},
        algorithm={"entryPoint": "follows:Follows", "config": {"start": "episode"}},
        rollout={"replicas": 1, "envsPerReplica": 3},
        stop={"steps": 5000},
    )

    done = place.run("check", job)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "loss 0" in done.stdout
