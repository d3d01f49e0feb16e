"""What acting has of a policy version, and the memory of a group of environments."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from rljob.algorithms.base import Policy, Seen
from rljob.envs.spaces import Arrays
from rljob.errors import RunError
from rljob.nets.acting import ActingNetworks


class SummingEngine:
    """A network that remembers the sum of what it saw, times its one weight."""

    def __init__(self, core_size: int = 1) -> None:
        self.core_size = core_size
        self.weight = 1.0

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        if "weight" not in tensors:
            raise RunError("weight is missing")
        self.weight = float(tensors["weight"])

    def __call__(self, *inputs: np.ndarray, core: np.ndarray | None = None) -> Arrays:
        if core is None:
            assert not self.core_size, "a network with memory is given it"
            return {"out": self.weight * inputs[0]}
        core += inputs[0]
        return {"out": self.weight * core}


def seen(*numbers: float) -> Seen:
    count = len(numbers)
    observation = np.array(numbers, np.float32)[:, None]
    yes = np.ones(count, bool)
    return Seen(observation, ~yes, yes, np.zeros(count, np.float32))


def test_memory_goes_on_until_an_episode_begins() -> None:
    policy = Policy(ActingNetworks({"net": SummingEngine()}), 3)
    assert policy.core.shape == (3, 1)
    policy.forget(np.ones(3, bool))
    policy(seen(1, 2, 3))
    assert policy(seen(1, 1, 1))["out"][:, 0].tolist() == [2, 3, 4]
    policy.forget(np.array([False, True, False]))
    assert policy.core[:, 0].tolist() == [2, 0, 4], "before the next call"
    assert policy(seen(1, 1, 1))["out"][:, 0].tolist() == [3, 1, 5]


def test_memory_is_a_groups_own_and_the_weights_are_shared() -> None:
    networks = ActingNetworks({"net": SummingEngine()})
    first, second = Policy(networks, 1), Policy(networks, 2)
    first(seen(5))
    assert second.core.tolist() == [[0], [0]]
    networks.load({"net/weight": np.array(2.0)})
    assert first(seen(1))["out"].tolist() == [[12]]
    assert second(seen(1, 2))["out"].tolist() == [[2], [4]]


def test_a_network_without_memory_is_given_none() -> None:
    policy = Policy(ActingNetworks({"net": SummingEngine(core_size=0)}), 2)
    assert policy.core.shape == (2, 0)
    policy.forget(np.ones(2, bool))
    assert policy(seen(1, 2))["out"][:, 0].tolist() == [1, 2]


def test_the_first_network_acts_and_each_has_its_name() -> None:
    first, other = SummingEngine(), SummingEngine(core_size=0)
    networks = ActingNetworks({"b": first, "a": other})
    networks.load({"b/weight": np.array(3.0), "a/weight": np.array(5.0)})
    policy = Policy(networks, 1)
    assert networks.core_size == 1
    assert policy.part("a") is other
    assert policy(seen(1))["out"].tolist() == [[3]]
    assert policy.part("a")(np.ones((1, 1), np.float32))["out"].tolist() == [[5]]


def test_what_is_of_no_acting_network_is_the_policys() -> None:
    networks = ActingNetworks({"net": SummingEngine()})
    policy = Policy(networks, 1)
    boundary, epsilon = np.array(4), np.array(0.5)
    networks.load({"net/weight": np.array(1.0), "/boundary": boundary, "epsilon": epsilon})
    assert dict(policy.arrays) == {"/boundary": boundary, "epsilon": epsilon}
    networks.load({"net/weight": np.array(1.0)})
    assert dict(policy.arrays) == {}, "those of the newest version only"


def test_weights_that_do_not_fit_are_refused_and_the_arrays_stay() -> None:
    networks = ActingNetworks({"net": SummingEngine()})
    networks.load({"net/weight": np.array(1.0), "epsilon": np.array(0.5)})
    with pytest.raises(RunError, match="weight is missing"):
        networks.load({"other/weight": np.array(1.0), "epsilon": np.array(0.1)})
    assert networks.arrays["epsilon"] == 0.5


def test_without_an_acting_network_there_are_the_arrays() -> None:
    networks = ActingNetworks({})
    networks.load({"table": np.arange(3)})
    policy = Policy(networks, 2)
    policy.forget(np.ones(2, bool))
    assert policy.core.shape == (2, 0)
    assert policy.arrays["table"].tolist() == [0, 1, 2]
    with pytest.raises(
        RunError, match=r"no network of this algorithm acts: .*or use policy\.arrays"
    ):
        policy(seen(1, 2))
