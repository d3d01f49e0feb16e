"""Names under which papers and other libraries know what is here an algorithm with settings, or an example. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class OtherName:
    """What a name means here.

    Attributes:
        title: as it is usually written.
        algorithm: the built-in one; empty for an example.
        config: its settings.
        note: a sentence more.
    """

    title: str
    algorithm: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def sentence(self) -> str:
        values = [f"{name}: {_plain(value)}" for name, value in self.config.items()]
        settings = f" with algorithm.config {{{', '.join(values)}}}" if values else ""
        parts = [f"{self.title} is {self.algorithm}{settings}"] if self.algorithm else []
        return ". ".join([*parts, *filter(None, [self.note])])


_REPLAY = {"replay": "prioritised"}
_KNOWN: Mapping[tuple[str, ...], OtherName] = {
    ("rainbow", "rainbowdqn"): OtherName(
        "Rainbow",
        "C51",
        {"double": True, "dueling": True, "noisy": True, "epsilon": 0, "nStep": 3, **_REPLAY},
        "examples/cartpole-rainbow.yaml has all of them",
    ),
    ("dueling", "duelingdqn", "dueldqn"): OtherName(
        "Dueling DQN", "DQN", {"dueling": True}, "That is the default; C51 has it as well"
    ),
    ("double", "doubledqn", "doubleqlearning", "ddqn"): OtherName(
        "Double DQN", "DQN", {"double": True}, "That is the default"
    ),
    ("d3qn", "duelingdoubledqn", "doubleduelingdqn"): OtherName(
        "Dueling double DQN", "DQN", {"double": True, "dueling": True}, "These are the defaults"
    ),
    (
        "per", "prioritised", "prioritized", "prioritiseddqn", "prioritizeddqn", "prioritisedreplay", "prioritizedreplay",
        "prioritisedexperiencereplay", "prioritizedexperiencereplay",
    ): OtherName(
        "Prioritised replay", "DQN", _REPLAY, "C51, QRDQN and IQN have it as well"
    ),
    ("noisy", "noisydqn", "noisynet", "noisynets", "noisynetwork", "noisynetworks"): OtherName(
        "Noisy DQN", "DQN", {"noisy": True, "epsilon": 0}, "C51 and QRDQN have it as well"
    ),
    ("munchausen", "munchausendqn", "mdqn"): OtherName(
        "Munchausen DQN", "DQN", {"munchausen": True, "nStep": 1, "double": False}
    ),
    ("apex", "apexdqn"): OtherName(
        "Ape-X",
        "DQN",
        {"epsilon": 0.4, "epsilonSpread": 7, "double": True, "dueling": True, "nStep": 3, **_REPLAY},
        "Rollouts act asynchronously in every job; rollout.replicas says how many",
    ),
    ("a3c", "asynchronousadvantageactorcritic"): OtherName(
        "A3C", "A2C", {}, "Its updates are in step; IMPALA corrects for the lag of asynchronous rollouts"
    ),
    ("categoricaldqn", "distributionaldqn"): OtherName("Categorical DQN", "C51"),
    ("quantiledqn", "quantileregressiondqn"): OtherName("Quantile regression DQN", "QRDQN"),
    ("vpg", "policygradient"): OtherName("The policy gradient", "REINFORCE"),
    ("qmix",): OtherName("QMIX", note="QMIX is an algorithm by import path: see examples/algorithms/qmix.yaml"),
    ("alphazero", "mcts"): OtherName(
        "AlphaZero", note="AlphaZero is an algorithm by import path: see examples/algorithms/alphazero.yaml"
    ),
}  # fmt: skip
OTHER_NAMES: Mapping[str, OtherName] = {
    name: found for names, found in _KNOWN.items() for name in names
}
"""By the name in lowercase letters and digits."""


def other_name(name: str) -> OtherName | None:
    """What a name that is no algorithm here means; None for one that is not known either."""
    return OTHER_NAMES.get("".join(letter for letter in name.lower() if letter.isalnum()))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
