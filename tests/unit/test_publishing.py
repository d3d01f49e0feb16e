"""What a learner publishes: the acting networks' weights, its own arrays, and what it may not publish."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pytest

from rljob import nets
from rljob.algorithms.base import Algorithm, Arrays, Head, Learner, Net, Progress
from rljob.algorithms.publishing import policy_arrays
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.errors import RunError
from rljob.spec.sections import NetworkSpec

NETS = {
    "actor": Net({"logits": Head(2), "value": Head(1)}, acts=("logits",)),
    "critics": Net({"q": Head(1)}, inputs=(BoxSpace((4,)), DiscreteSpace(2)), copies=2),
}


class PublishingLearner(Learner):
    """Publishes what it was given."""

    def __init__(self, published: Mapping[str, Any]) -> None:
        self._published = published
        self.asked: list[Progress] = []

    def publish(self, progress: Progress) -> dict[str, Any]:
        self.asked.append(progress)
        return dict(self._published)


class Publishing:
    """An algorithm with these networks."""

    def __init__(self, networks: Mapping[str, Net]) -> None:
        self.networks = networks


def published(
    own: Mapping[str, Any], networks: Mapping[str, Net] | None = None, copy: bool = True
) -> tuple[Arrays, dict[str, Any]]:
    """What is published, and the networks."""
    made = NETS if networks is None else networks
    spaces = Spaces(BoxSpace((4,)), DiscreteSpace(2))
    built = nets.build_networks(NetworkSpec(config={"hidden": [8]}), made, spaces, 0)
    algorithm = cast(Algorithm, Publishing(made))
    progress = Progress(0, 0.0)
    return policy_arrays(algorithm, built, PublishingLearner(own), progress, copy), dict(built)


def test_the_acting_heads_weights_and_the_learners_own_arrays() -> None:
    arrays, _ = published({"epsilon": 0.5, "count": np.int32(3), "table": [[1, 2]]})
    own = {name: array for name, array in arrays.items() if "/" not in name}
    assert {name: array.tolist() for name, array in own.items()} == {
        "epsilon": 0.5,
        "count": 3,
        "table": [[1, 2]],
    }
    assert own["count"].dtype == np.int32
    assert {name.partition("/")[0] for name in arrays.keys() - own.keys()} == {"actor"}
    assert "actor/body.heads.logits.weight" in arrays
    assert not [name for name in arrays if "value" in name]


def test_without_networks_its_own_arrays_are_all() -> None:
    arrays, networks = published({"table": np.arange(3)}, networks={})
    assert networks == {}
    assert list(arrays) == ["table"]


def test_the_learner_is_told_how_far_training_is() -> None:
    learner = PublishingLearner({})
    progress = Progress(5, 0.1, 2)
    policy_arrays(cast(Algorithm, Publishing({})), {}, learner, progress, copy=True)
    assert learner.asked == [progress]


@pytest.mark.parametrize("copy", [True, False])
def test_a_copy_stays_as_it_is(copy: bool) -> None:
    table = np.zeros(2)
    arrays, networks = published({"table": table}, copy=copy)
    table += 1
    weight = networks["actor"].body.heads["logits"].weight
    weight.data.fill_(7)
    assert (arrays["table"] == 0).all() == copy
    assert (arrays["actor/body.heads.logits.weight"] != 7).all() == copy


@pytest.mark.parametrize("name", ["actor/table", "/boundary", "a/b"])
def test_a_name_that_could_be_a_networks_is_refused(name: str) -> None:
    with pytest.raises(RunError, match=f"publish: the name '{name}' must not contain '/'"):
        published({name: 1.0})


@pytest.mark.parametrize(
    ("value", "dtype"),
    [("text", "<U4"), (None, "object"), ({"a": 1}, "object"), (1j, "complex128")],
)
def test_what_is_no_array_of_numbers_is_refused(value: Any, dtype: str) -> None:
    with pytest.raises(RunError, match=f"publish: 'it' has dtype {dtype}, expected numbers"):
        published({"it": value})
