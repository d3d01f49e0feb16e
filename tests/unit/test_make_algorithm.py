"""What a class that a user names as an algorithm must declare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rljob.algorithms import make_algorithm
from rljob.algorithms.base import AlgorithmConfig, OnPolicy
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
        self.data, self.networks, self.fields = OnPolicy(8), {"policy": None}, ()


class NoData(Declared):
    def __init__(self, config: Any, spaces: Any) -> None:
        super().__init__(config, spaces)
        del self.data


class ListedNetworks(Declared):
    def __init__(self, config: Any, spaces: Any) -> None:
        super().__init__(config, spaces)
        self.networks = ["policy"]  # type: ignore[assignment]


class OneField(Declared):
    def __init__(self, config: Any, spaces: Any) -> None:
        super().__init__(config, spaces)
        self.fields = "log_prob"  # type: ignore[assignment]


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
    ],
)
def test_what_is_missing_is_named(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        made(name)
    assert caught.value.path == "algorithm.entryPoint"
