"""A learner's state: what is saved of its attributes, and that it comes back into the same objects."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rljob.algorithms.base import Learner
from rljob.algorithms.moments import MovingMoments, RunningMoments
from rljob.algorithms.saved_state import LearnerState
from rljob.nets.torch_optimizer import FlatAdam
from rljob.nets.torch_target import Target

Change = Callable[[Any], None]


def through_json(state: LearnerState) -> LearnerState:
    """As a checkpoint keeps it."""
    return LearnerState(state.arrays, json.loads(json.dumps(state.values)))


class HoldingLearner(Learner):
    """Has these attributes."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


def linear(seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(2, 3)


def optimizer(steps: int = 0) -> Any:
    module = linear()
    adam = torch.optim.Adam(module.parameters(), lr=0.1, amsgrad=True)
    for _ in range(steps):
        step(adam)
    return adam


def step(adam: Any) -> None:
    for parameter in adam.param_groups[0]["params"]:
        parameter.grad = torch.ones_like(parameter)
    adam.step()


def flat_adam(steps: int = 0) -> FlatAdam:
    module = linear()
    adam = FlatAdam(module, learning_rate=0.1)
    for _ in range(steps):
        adam.step(module(torch.ones(1, 2)).sum())
    return adam


def running(rows: int = 0) -> RunningMoments:
    moments = RunningMoments((2,))
    moments.update(np.arange(2.0 * rows).reshape(rows, 2))
    return moments


def moving(values: int = 0) -> MovingMoments:
    moments = MovingMoments(decay=0.9)
    for value in range(values):
        moments.update(np.array([float(value)]))
    return moments


def torch_generator(draws: int = 0) -> torch.Generator:
    generator = torch.Generator().manual_seed(0)
    torch.rand(draws, generator=generator)
    return generator


def numpy_generator(draws: int = 0, bits: Any = np.random.PCG64) -> np.random.Generator:
    generator = np.random.Generator(bits(0))
    generator.random(draws)
    return generator


def random_state(draws: int = 0) -> np.random.RandomState:
    state = np.random.RandomState(0)
    state.standard_normal(draws)
    return state


KINDS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "module": (lambda: linear(0), lambda: linear(1)),
    "optimizer that has made steps": (lambda: optimizer(0), lambda: optimizer(3)),
    "optimizer before its first step": (lambda: optimizer(0), lambda: optimizer(0)),
    "FlatAdam": (lambda: flat_adam(0), lambda: flat_adam(2)),
    "Target": (lambda: Target(linear(0)), lambda: Target(linear(1))),
    "RunningMoments": (lambda: running(0), lambda: running(4)),
    "RunningMoments before their first rows": (lambda: running(0), lambda: running(0)),
    "MovingMoments": (lambda: moving(0), lambda: moving(5)),
    "PCG64": (lambda: numpy_generator(0), lambda: numpy_generator(3)),
    "MT19937": (
        lambda: numpy_generator(0, np.random.MT19937),
        lambda: numpy_generator(3, np.random.MT19937),
    ),
    "Philox": (
        lambda: numpy_generator(0, np.random.Philox),
        lambda: numpy_generator(3, np.random.Philox),
    ),
    "RandomState": (lambda: random_state(0), lambda: random_state(3)),
    "torch generator": (lambda: torch_generator(0), lambda: torch_generator(3)),
    "tensor": (lambda: torch.zeros(2, 2), lambda: torch.tensor([[1.0, 2.0], [3.0, 4.0]])),
    "parameter": (lambda: nn.Parameter(torch.zeros(2)), lambda: nn.Parameter(torch.ones(2))),
    "integers": (lambda: torch.zeros((), dtype=torch.int64), lambda: torch.tensor(2**40)),
    "array": (lambda: np.zeros((2, 2)), lambda: np.arange(4.0).reshape(2, 2)),
    "scalar array": (lambda: np.array(0), lambda: np.array(7)),
    "empty array": (lambda: np.zeros((0, 2)), lambda: np.zeros((0, 2))),
    "list": (lambda: [np.zeros(1), linear(0)], lambda: [np.ones(1), linear(1)]),
    "tuple": (lambda: (np.zeros(1), torch.zeros(1)), lambda: (np.ones(1), torch.ones(1))),
    "dict": (
        lambda: {"a": np.zeros(1), "b": [torch.zeros(1)], 3: linear(0)},
        lambda: {"a": np.ones(1), "b": [torch.ones(1)], 3: linear(1)},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_comes_back(kind: str) -> None:
    fresh, trained = KINDS[kind]
    whole, resumed = HoldingLearner(part=trained()), HoldingLearner(part=fresh())
    part: Any = vars(resumed)["part"]
    saved = whole.state()
    assert saved.values, "it has state"
    resumed.load_state(through_json(saved))
    assert vars(resumed)["part"] is part, "written into the object that was there"
    again = resumed.state()
    assert again.values == saved.values
    assert again.arrays.keys() == saved.arrays.keys()
    for name, array in saved.arrays.items():
        assert again.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(again.arrays[name], array)


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("made", [optimizer, flat_adam])
def test_an_optimizer_goes_on_with_its_moments(made: Callable[[int], Any], steps: int) -> None:
    whole = made(steps)
    state = HoldingLearner(adam=whole).state()
    resumed = made(0)
    HoldingLearner(adam=resumed).load_state(through_json(state))
    for adam in (whole, resumed):
        for parameter in _parameters(adam):
            parameter.data.zero_()
        _step_on(adam)
    for mine, theirs in zip(_parameters(whole), _parameters(resumed), strict=True):
        assert torch.equal(mine, theirs)


def _parameters(adam: Any) -> list[torch.Tensor]:
    if isinstance(adam, FlatAdam):
        return [adam.vector]
    return list(adam.param_groups[0]["params"])


def _step_on(adam: Any) -> None:
    """A step whose size depends on those before."""
    if isinstance(adam, FlatAdam):
        adam._gradient.fill_(0.1)
        adam.descend()
    else:
        for parameter in _parameters(adam):
            parameter.grad = torch.full_like(parameter, 0.1)
        adam.step()


@pytest.mark.parametrize(
    ("kind", "draw"),
    [
        ("PCG64", lambda generator: generator.random(3).tolist()),
        ("MT19937", lambda generator: generator.random(3).tolist()),
        ("Philox", lambda generator: generator.random(3).tolist()),
        ("RandomState", lambda state: state.standard_normal(3).tolist()),
        ("torch generator", lambda generator: torch.rand(3, generator=generator).tolist()),
    ],
)
def test_random_numbers_go_on(kind: str, draw: Callable[[Any], list[float]]) -> None:
    fresh, used = (make() for make in KINDS[kind])
    state = HoldingLearner(rng=used).state()
    HoldingLearner(rng=fresh).load_state(through_json(state))
    assert draw(fresh) == draw(used)


def test_the_state_is_a_copy() -> None:
    array, tensor, module = np.zeros(2), torch.zeros(2), linear()
    adam, moments = flat_adam(1), running(2)
    learner = HoldingLearner(a=array, t=tensor, m=module, adam=adam, moments=moments)
    state = learner.state()
    before = {name: each.copy() for name, each in state.arrays.items()}
    array += 1
    tensor += 1
    moments.update(np.ones((3, 2)))
    _step_on(adam)
    with torch.no_grad():
        module.weight += 1
    for name, each in before.items():
        np.testing.assert_array_equal(state.arrays[name], each)


def test_what_was_loaded_does_not_belong_to_the_state() -> None:
    learner = HoldingLearner(moments=running(0))
    state = HoldingLearner(moments=running(3)).state()
    before = {name: each.copy() for name, each in state.arrays.items()}
    learner.load_state(state)
    learner.moments.mean += 1  # type: ignore[attr-defined]
    for name, each in before.items():
        np.testing.assert_array_equal(state.arrays[name], each)


def test_numbers_texts_and_what_cannot_be_written_are_settings() -> None:
    constant = np.zeros(2)
    constant.flags.writeable = False
    settings = HoldingLearner(
        rate=0.1,
        count=3,
        name="a",
        on=True,
        none=None,
        constant=constant,
        kind=nn.Linear,
        numbers=[1],
    )
    assert settings.state() == LearnerState({}, {})
    settings.load_state(LearnerState({}, {}))
    assert vars(settings)["rate"] == 0.1


def test_names_are_those_of_the_attributes_and_what_is_held_twice_is_saved_once() -> None:
    module = linear()
    learner = HoldingLearner(
        _network=module, again=module, tables={"a": np.zeros(1), "b": np.ones(2)}, each=[np.ones(1)]
    )
    state = learner.state()
    assert set(state.values) == {"network", "tables.a", "tables.b", "each.0"}
    assert set(state.arrays) == {
        *("network.weight", "network.bias", "tables.a", "tables.b", "each.0")
    }


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"table": np.zeros(3)}, r"lacks \['net'\]"),
        ({"table": np.zeros(3), "net": linear(), "more": np.zeros(1)}, r"\['more'\]"),
        ({"table": np.zeros(4), "net": linear()}, r"table has the shape \[4\], not \[3\]"),
    ],
)
def test_the_state_of_another_learner_is_refused_with_the_attributes_name(
    other: dict[str, Any], message: str
) -> None:
    learner = HoldingLearner(table=np.zeros(3), net=linear())
    with pytest.raises(ValueError, match=message):
        learner.load_state(HoldingLearner(**other).state())


def test_a_network_of_another_size_is_refused() -> None:
    learner = HoldingLearner(net=linear())
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        learner.load_state(HoldingLearner(net=nn.Linear(5, 3)).state())
