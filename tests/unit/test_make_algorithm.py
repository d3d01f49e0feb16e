"""What a class that a user names as an algorithm must declare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rljob.algorithms import make_algorithm
from rljob.algorithms.base import AlgorithmConfig, Head, Net, OnPolicy
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.errors import InputError
from rljob.spec.sections import AlgorithmSpec

SPACES = Spaces(BoxSpace((4,)), DiscreteSpace(2))


class Declared:
    """Declares all of it in `__init__`."""

    Config = AlgorithmConfig
    actor: Callable[..., Any] | None = None
    learner: Callable[..., Any] | None = None

    def __init__(self, config: Any, spaces: Any) -> None:
        self.data, self.fields = OnPolicy(8), ()
        self.networks: Any = {"policy": Net({"logits": Head(2)}, acts=("logits",))}


class NoData(Declared):
    def __init__(self, config: Any, spaces: Any) -> None:
        super().__init__(config, spaces)
        del self.data


class ListedNetworks(Declared):
    def __init__(self, config: Any, spaces: Any) -> None:
        super().__init__(config, spaces)
        self.networks = ["policy"]


class OneField(Declared):
    def __init__(self, config: Any, spaces: Any) -> None:
        super().__init__(config, spaces)
        self.fields = "log_prob"  # type: ignore[assignment]


class NetworkInAFolder(Declared):
    def __init__(self, config: Any, spaces: Any) -> None:
        super().__init__(config, spaces)
        self.networks = {"policy/actor": self.networks["policy"]}


class NumberedNetwork(Declared):
    def __init__(self, config: Any, spaces: Any) -> None:
        super().__init__(config, spaces)
        self.networks = {1: self.networks["policy"]}


class NoNet(Declared):
    def __init__(self, config: Any, spaces: Any) -> None:
        super().__init__(config, spaces)
        self.networks = {"policy": Head(2)}


class NamedField(Declared):
    def __init__(self, config: Any, spaces: Any) -> None:
        super().__init__(config, spaces)
        self.fields = ("log_prob",)  # type: ignore[assignment]


class NoActor:
    Config = AlgorithmConfig
    learner = None


def made(name: str) -> Any:
    return make_algorithm(AlgorithmSpec(entry_point=f"{__name__}:{name}"), SPACES)


def test_all_may_be_declared_when_it_is_made() -> None:
    assert made("Declared").data == OnPolicy(8)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NoActor", "NoActor lacks actor"),
        ("NoData", "NoData has the data None, expected OnPolicy or Replay"),
        ("ListedNetworks", r"ListedNetworks has the networks \['policy'\], expected Mapping"),
        ("OneField", "OneField has the fields 'log_prob', expected tuple or list"),
        (
            "NetworkInAFolder",
            "NetworkInAFolder has a network with the name 'policy/actor', expected a letter",
        ),
        ("NumberedNetwork", "has a network with the name 1, expected a letter"),
        ("NoNet", r"NoNet has the network policy Head\(.*, expected a Net"),
        ("NamedField", "NamedField has the field 'log_prob', expected a Field"),
    ],
)
def test_what_is_missing_is_named(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        made(name)
    assert caught.value.path == "algorithm.entryPoint"
