"""A loaded policy acts as the algorithm does in evaluations, on the environment's own observations."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces as gym

import rljob
from rljob.algorithms import BUILT_IN
from rljob.checkpoints.archive import Archive
from rljob.envs.spaces import Spaces
from rljob.errors import InputError, RLJobError, RunError
from tests.unit.saved_policies import VERSION, acts_as, save_run

BOX = gym.Box(-4, 4, (5,))
ACTIONS = {
    "Discrete": gym.Discrete(4, start=3),
    "MultiDiscrete": gym.MultiDiscrete([3, 2]),
    "Box": gym.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32)),
}
TABULAR = {"QLearning", "DynaQ", "SearchDynaQ", "QLAgent57", "VanillaPolicy"}
CASES = [(name, config, kind) for name in BUILT_IN for kind in ACTIONS for config in ({},)] + [
    ("DQN", {"dueling": False, "noisy": True, "epsilon": 0}, "Discrete"),
    ("C51", {"dueling": True, "atoms": 11}, "Discrete"),
]


def spaces_of(observation: gym.Space[Any], action: gym.Space[Any]) -> Spaces:
    return Spaces.from_gymnasium(observation, action)


@pytest.mark.parametrize(("name", "config", "kind"), CASES)
def test_it_acts_as_the_algorithm_does(
    name: str, config: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    observation = gym.Discrete(6, start=1) if name in TABULAR else BOX
    spaces = spaces_of(observation, ACTIONS[kind])
    try:
        job = save_run(tmp_path, spaces, {"name": name, "config": config})
    except InputError:
        return  # An algorithm of other actions.
    observation.seed(0)
    batch = np.stack([observation.sample() for _ in range(32)])
    stored = spaces.observation.from_environment(batch)
    expected = spaces.action.to_environment(acts_as(tmp_path, job, spaces, stored))
    policy = rljob.load_policy(tmp_path, seed=0)
    assert policy.form is not None
    assert policy.version == VERSION
    found = policy.act(batch)
    np.testing.assert_array_equal(found, expected)
    one = policy.act(batch[3])
    np.testing.assert_allclose(one, expected[3], rtol=1e-5, atol=1e-6)
    assert ACTIONS[kind].contains(one)
    assert all(ACTIONS[kind].contains(each) for each in policy.act(batch, deterministic=False))


@pytest.mark.parametrize(
    ("network", "observation"),
    [
        ({"name": "cnn"}, gym.Box(0, 255, (40, 40, 3), np.uint8)),
        ({"name": "cnn", "config": {"variant": "impala"}}, gym.Box(0, 255, (1, 16, 16), np.uint8)),
        ({"name": "candidates", "config": {"headHidden": [8]}}, gym.Box(-1, 1, (4, 3))),
        (
            {"config": {"shared": True, "activation": "gelu", "layerNorm": True, "residual": True}},
            BOX,
        ),
        ({"name": "gru"}, BOX),
        ({"name": "lstm"}, BOX),
        ({}, gym.MultiDiscrete([[2, 3], [4, 5]])),
    ],
)
def test_all_networks_act(
    network: dict[str, Any], observation: gym.Space[Any], tmp_path: Path
) -> None:
    spaces = spaces_of(observation, ACTIONS["Discrete"])
    job = save_run(tmp_path, spaces, {"name": "IMPALA"}, network=network)
    batch = np.stack([observation.sample() for _ in range(9)])
    stored = spaces.observation.from_environment(batch)
    expected = spaces.action.to_environment(acts_as(tmp_path, job, spaces, stored))
    assert rljob.load_policy(tmp_path).episode().act(batch).tolist() == expected.tolist()


def test_a_memory_is_that_of_an_episode(tmp_path: Path) -> None:
    spaces = spaces_of(BOX, gym.Box(-1, 1, (1,)))
    save_run(tmp_path, spaces, {"name": "IMPALA"}, network={"name": "gru", "config": {"size": 8}})
    policy = rljob.load_policy(tmp_path)
    batch = np.stack([BOX.sample() for _ in range(5)])
    with pytest.raises(
        InputError, match=r"has a memory of its episode: use episode = policy\.episode\(\)"
    ):
        policy.act(batch[0])
    episode, state = policy.episode(), None
    for index, observation in enumerate(batch):
        expected, state = policy.predict(observation, state, [index == 0], deterministic=True)
        np.testing.assert_array_equal(episode.act(observation), expected)
    again = policy.episode().act(batch[-1])
    assert again.tolist() != expected.tolist()
    np.testing.assert_array_equal(policy.predict(batch[-1], state, [True], True)[0], again)
    with pytest.raises(InputError, match="2 observations; this episode began with 1"):
        episode.act(batch[:2])
    with pytest.raises(
        InputError, match=r"memory: has the shape \[3\]; this policy needs \[1, 8\]"
    ):
        policy.predict(batch[0], np.zeros(3))


def test_masks_are_those_of_the_environment(tmp_path: Path) -> None:
    spaces = spaces_of(BOX, ACTIONS["MultiDiscrete"])
    save_run(tmp_path, spaces, {"name": "PPO"})
    policy = rljob.load_policy(tmp_path)
    mask = [0, 0, 1, 1, 0]
    assert policy.act(BOX.sample(), mask=mask).tolist() == [2, 0]
    assert policy.act({"observation": BOX.sample(), "action_mask": mask}).tolist() == [2, 0]
    drawn = policy.act(np.stack([BOX.sample()] * 50), deterministic=False, mask=[mask] * 50)
    assert drawn.tolist() == [[2, 0]] * 50
    for wrong, message in (
        ([0, 0, 0, 1, 0], "mask: allows no action"),
        (
            [1, 1],
            r"mask: has the shape \[2\] and dtype int64; MultiDiscrete\(\[3, 2\]\) needs 0 or 1 in \[5\]",
        ),
        ([2, 0, 1, 1, 0], "needs 0 or 1"),
    ):
        with pytest.raises(InputError, match=message):
            policy.act(BOX.sample(), mask=wrong)


def test_conversions_are_those_of_training(tmp_path: Path) -> None:
    from rljob.envs.vector import Environments
    from rljob.spec import EnvironmentSpec

    environment = {
        "id": "Pendulum-v1",
        "convert": {
            "action": {"to": "discrete", "divisions": [5]},
            "observation": {"to": "discrete", "divisions": [4]},
        },
    }
    environments = Environments(EnvironmentSpec.model_validate(environment), 1)
    spaces = environments.spaces
    assert Spaces.from_json(json.loads(json.dumps(spaces.to_json()))) == spaces
    environments.close()
    save_run(tmp_path, spaces, {"name": "QLearning"}, environment)
    policy = rljob.load_policy(tmp_path)
    assert policy.form is not None
    action = policy.act(np.array([1.0, 0.0, 0.5], np.float32))
    assert action.shape == (1,)
    assert action.dtype == np.float32
    assert float(action[0]) in (-2, -1, 0, 1, 2)


@pytest.mark.parametrize(
    ("observation", "value", "message"),
    [
        (
            BOX,
            np.zeros(4),
            r"has the shape \[4\]; Box\(-4.0, 4.0, \(5,\), float32\) needs \[5\], or \[N, 5\] for a batch",
        ),
        (BOX, np.zeros((0, 5)), r"has the shape \[0, 5\]"),
        (BOX, [0, 0, 0, 0, np.nan], "infinite or NaN"),
        (BOX, ["a"] * 5, "has dtype <U1"),
        (BOX, [[0], [1, 2]], "is no array"),
        (BOX, {"image": 1}, "has image; a Dict needs observation"),
        (gym.Discrete(3, start=1), 0, r"has a number that is not in Discrete\(3, start=1\)"),
        (gym.Discrete(3), 1.5, "numbers that int64 cannot hold"),
        (gym.Box(0, 255, (2,), np.uint8), [0, 256], "numbers that uint8 cannot hold"),
        (gym.MultiDiscrete([2, 3]), [1, 3], r"not in MultiDiscrete\(\[2, 3\]\)"),
    ],
)
def test_what_is_no_observation_is_refused(
    observation: gym.Space[Any], value: Any, message: str, tmp_path: Path
) -> None:
    save_run(tmp_path, spaces_of(observation, ACTIONS["Discrete"]), {"name": "PPO"})
    with pytest.raises(InputError, match=message):
        rljob.load_policy(tmp_path).act(value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mask": [[1], [1, 0]]}, "mask: is no array"),
        ({"mask": [2, 0, 1, 1]}, "mask: has the shape"),
        ({"episode_start": [True, False]}, "episode_start: is .*; one number, or 1, are expected"),
        ({"episode_start": "no"}, "episode_start: is"),
    ],
)
def test_what_is_no_mask_and_no_start_is_refused(
    given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    network = {"name": "gru", "config": {"size": 4}}
    save_run(tmp_path, spaces_of(BOX, ACTIONS["Discrete"]), {"name": "PPO"}, network=network)
    policy = rljob.load_policy(tmp_path)
    with pytest.raises(InputError, match=message):
        policy.predict(np.zeros(5, np.float32), **given)
    with pytest.raises(InputError, match="reward: is"):
        policy.episode().act(np.zeros(5, np.float32), reward=[1, 2])


def test_every_place_of_a_policy_is_loaded(tmp_path: Path) -> None:
    run = tmp_path / "run"
    save_run(run, spaces_of(BOX, ACTIONS["Discrete"]), {"name": "PPO"}, version=3)
    save_run(run, spaces_of(BOX, ACTIONS["Discrete"]), {"name": "PPO"}, version=12)
    archive = tmp_path / "policy.tar"
    with closing(Archive.of(run / "checkpoints", run / "job.yaml")) as packed:
        archive.write_bytes(b"".join(packed))
    places = [
        run,
        str(run),
        run / "checkpoints",
        run / "checkpoints" / "latest",
        run / "checkpoints" / "latest" / "policy.safetensors",
        archive,
    ]
    batch = np.stack([BOX.sample() for _ in range(8)])
    policies = [rljob.load_policy(place) for place in places]
    assert {policy.version for policy in policies} == {12}
    assert len({policy.act(batch).tobytes() for policy in policies}) == 1
    assert rljob.load_policy(run / "checkpoints" / "000000000003").version == 3


def test_what_is_no_policy_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").write_bytes(b"PK\x03\x04 a zip file")
    with tarfile.open(tmp_path / "foreign.tar", "w") as other:
        other.add(tmp_path / "foreign", "foreign")
    save_run(tmp_path / "run", spaces_of(BOX, ACTIONS["Discrete"]), {"name": "PPO"})
    damaged = tmp_path / "run" / "checkpoints" / "latest"
    weights = damaged / "policy.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    for place, kind, message in (
        ("empty", InputError, "no whole checkpoint in"),
        ("foreign", InputError, "is not a policy"),
        ("foreign.tar", RunError, "'foreign', which is not part of a checkpoint"),
        ("run", InputError, "no whole checkpoint in"),
        ("run/checkpoints/latest", RunError, r"damaged checkpoint .*: policy\.safetensors has"),
        ("no/such", InputError, "no such file or folder, and not the name of a job"),
    ):
        with pytest.raises(kind, match=message) as caught:
            rljob.load_policy(str(tmp_path / place))
        assert "\n" not in str(caught.value)
    with pytest.raises(RLJobError):
        rljob.load_policy("no-such-job")


OWN = """
import numpy as np
from rljob.algorithms.base import Acted, Actor, AlgorithmConfig, Learner, OnPolicy


class Mine:
    class Config(AlgorithmConfig):
        pass

    networks = {}
    fields = ()

    def __init__(self, config, spaces):
        self.data = OnPolicy(4)

    def actor(self, policy, place):
        return MineActor(self, policy, place)

    def learner(self, networks, seed):
        return MineLearner()


class MineActor(Actor):
    def act(self, seen):
        if self.policy.arrays["plans"].any():
            self.place.games.copy(0)
        return Acted(np.full(len(seen.observation), 2) + (not seen.begins[0]))


class MineLearner(Learner):
    def publish(self, progress):
        return {"plans": np.zeros(1)}
"""


def test_own_algorithms_act_or_say_what_they_need(tmp_path: Path) -> None:
    import gymnasium

    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "mine_to_load.py").write_text(OWN)
    sys.path.insert(0, str(tmp_path / "code"))
    try:
        save_run(tmp_path, spaces_of(BOX, ACTIONS["Discrete"]), {"entryPoint": "mine_to_load:Mine"})
    finally:
        sys.path.remove(str(tmp_path / "code"))
        sys.modules.pop("mine_to_load")
    policy = rljob.load_policy(tmp_path)
    assert policy.form is None
    with pytest.raises(RunError, match=r"MineActor\.act raised .*needs policy\.episode\(env=ENV\)"):
        policy.act(BOX.sample())
    with gymnasium.make("CartPole-v1") as env:
        env.reset()
        episode = policy.episode(env=env)
        assert [int(episode.act(BOX.sample())) for _ in range(2)] == [5, 6]
    sys.path.remove(str(tmp_path / "code"))
    (tmp_path / "job.yaml").unlink()
    with pytest.raises(InputError, match=r"no job\.yaml in .*Give the run's folder"):
        rljob.load_policy(tmp_path)


def test_it_needs_numpy_alone(tmp_path: Path) -> None:
    """What is not imported takes no time; tests/bench measures the time itself."""
    save_run(tmp_path, spaces_of(BOX, ACTIONS["Box"]), {"name": "SAC"})
    program = (
        "import sys, rljob\n"
        f"rljob.load_policy({str(tmp_path)!r}).act([0.0] * 5)\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    heavy = {
        "torch",
        "gymnasium",
        "pydantic",
        "yaml",
        "safetensors",
        "zmq",
        "kubernetes",
        "waitress",
    }
    assert heavy & set(done.stdout.split()) == set()
