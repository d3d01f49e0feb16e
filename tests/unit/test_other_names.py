"""Names of other algorithms: what is said of them is what a job can have."""

from __future__ import annotations

from pathlib import Path

import pytest

from rljob.algorithms import BUILT_IN, resolve_algorithm
from rljob.algorithms.other_names import OTHER_NAMES
from rljob.cli.main import main
from rljob.errors import InputError
from rljob.spec.invalid import checked
from rljob.spec.sections import AlgorithmSpec

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_the_settings_are_allowed(name: str) -> None:
    found = OTHER_NAMES[name]
    if found.algorithm:
        checked(BUILT_IN[found.algorithm].Config, found.config)
    for word in found.sentence.split():
        if word.startswith("examples/"):
            assert (ROOT / word).is_file()
    assert not any(name == "".join(filter(str.isalnum, known.lower())) for known in BUILT_IN)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "Rainbow",
            (
                "Rainbow is no name here. Rainbow is C51 with algorithm.config {double: true, dueling: true, noisy: true, "
                "epsilon: 0, nStep: 3, replay: prioritised}. examples/cartpole-rainbow.yaml"
            ),
        ),
        (
            "Dueling DQN",
            "Dueling DQN is DQN with algorithm.config {dueling: true}. That is the default",
        ),
        (
            "PER",
            "PER is no name here. Prioritised replay is DQN with algorithm.config {replay: prioritised}",
        ),
        ("A3C", "A3C is A2C. Its updates are in step; IMPALA"),
        ("Ape-X", "Ape-X is DQN with algorithm.config {epsilon: 0.4, epsilonSpread: 7, "),
        ("noisy", "Noisy DQN is DQN with algorithm.config {noisy: true, epsilon: 0}"),
        ("QMIX", "QMIX is an algorithm by import path: see examples/algorithms/qmix.yaml"),
    ],
)
def test_a_job_and_the_command_say_the_same(
    name: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError) as caught:
        resolve_algorithm(AlgorithmSpec(name=name))
    assert caught.value.path == "algorithm.name"
    assert words in caught.value.message
    assert main(["algorithms", name]) == 2
    assert words in capsys.readouterr().err
