"""What a user's algorithm answers in a wrong form is said with the class, what came and what is expected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rljob.algorithms.acting import Acted
from rljob.algorithms.answers import check_acted, check_update, make_actor, make_learner
from rljob.algorithms.learning import Update
from rljob.errors import RunError
from rljob.nets.head import Head, Net
from rljob.spec.experience import OnPolicy, Replay

ROWS: dict[str, np.ndarray] = {"action": np.zeros(3, np.int64), "log_prob": np.zeros(3, np.float32)}


@pytest.mark.parametrize(
    "acted",
    [
        Acted(np.zeros(3, np.int64)),
        Acted(np.zeros(3, np.int32), {"log_prob": np.zeros(3, np.float64)}),
    ],
)
def test_what_fits_is_taken(acted: Acted) -> None:
    check_acted("MyActor", acted, ROWS)


@pytest.mark.parametrize(
    ("acted", "message"),
    [
        (np.zeros(3), r"returned an array \[3\] of float64, expected Acted\(action\)"),
        (None, r"returned a NoneType, expected Acted"),
        (
            Acted(np.zeros((3, 1), np.int64)),
            r"the action as an array \[3, 1\] of int64, expected an array \[3\] of",
        ),
        (
            Acted(np.zeros(3)),
            r"the action as an array \[3\] of float64, expected an array \[3\] of int64",
        ),
        (Acted((np.zeros(3), np.zeros(3))), "the action as a tuple"),  # type: ignore[arg-type]
        (Acted(torch.zeros(3)), "the action as a torch.Tensor"),  # type: ignore[arg-type]
        (Acted(ROWS["action"], {"other": np.zeros(3)}), r"extras\['other'\], which is none of the"),
        (
            Acted(ROWS["action"], {"log_prob": np.zeros(2)}),
            r"extras\['log_prob'\] as an array \[2\]",
        ),
        (
            Acted(ROWS["action"], kept={"log_prob": np.zeros(3)}),
            r"kept\['log_prob'\], and the segment has an array log_prob",
        ),
        (
            Acted(ROWS["action"], kept={"worth": np.zeros(2)}),
            r"kept\['worth'\] as an array \[2\] of float64, expected an array with 3 rows",
        ),
    ],
)
def test_what_an_actor_answers_wrongly_is_told(acted: Any, message: str) -> None:
    with pytest.raises(RunError, match=rf"^MyActor\.act returned {message}|{message}"):
        check_acted("MyActor", acted, ROWS)


def test_what_a_learner_answers_wrongly_is_told() -> None:
    update = Update({"loss": 1.0})

    assert check_update(object(), update, BATCH) is update
    with pytest.raises(
        RunError, match=r"object\.update returned a dict, expected Update\(metrics\)"
    ):
        check_update(object(), {"loss": 1.0}, BATCH)


def test_a_net_acts_by_its_own_heads() -> None:
    with pytest.raises(
        ValueError, match="acts names 'logit', which is none of the heads logits, v"
    ):
        Net({"logits": Head(2), "v": Head(1)}, acts=("logit",))


def test_what_cannot_be_stored_is_refused() -> None:
    with pytest.raises(ValueError, match="OnPolicy: segment_length is 0, and has to be above 0"):
        OnPolicy(0)
    with pytest.raises(ValueError, match="Replay: batch_size is -1, and has to be above 0"):
        Replay(8, -1, 100, 8.0)


BATCH = {"key": np.zeros(3, np.uint64), "reward": np.zeros((1, 3), np.float32)}


@pytest.mark.parametrize(
    "metrics", [{"loss": 1}, {"loss": np.float32(1)}, {"loss": torch.ones(())}]
)
def test_numbers_of_any_kind_are_metrics(metrics: Any) -> None:
    check_update(object(), Update(metrics), BATCH)


def test_a_metric_that_is_no_number_is_told() -> None:
    with pytest.raises(
        RunError, match=r"object\.update returned the metric 'loss' as a str, expected a number"
    ):
        check_update(object(), Update({"loss": "big"}), BATCH)  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("priorities", "batch", "message"),
    [
        (
            np.ones(2),
            BATCH,
            r"priorities as an array \[2\] of float64, expected an array of 3 numbers",
        ),
        ([1.0, 1.0, 1.0], BATCH, "priorities as a list, expected an array of 3 numbers"),
        (np.array([1.0, np.nan, 1.0]), BATCH, "priorities that are not finite or below 0"),
        (np.array([1.0, -1.0, 1.0]), BATCH, "priorities that are not finite or below 0"),
        (np.ones(3), {}, "priorities, and its data is no Replay"),
    ],
)
def test_priorities_fit_the_batch(priorities: Any, batch: Any, message: str) -> None:
    with pytest.raises(RunError, match=rf"object\.update returned {message}"):
        check_update(object(), Update({}, priorities), batch)


def test_priorities_that_fit_are_taken() -> None:
    assert check_update(object(), Update({}, np.zeros(3)), BATCH).priorities is not None


class Halves:
    """Makes what its attributes say."""

    made: Any = None

    def actor(self, policy: Any, place: Any) -> Any:
        return self.made

    def learner(self, networks: Any, seed: int) -> Any:
        return self.made


class OneArgument:
    def actor(self, policy: Any) -> Any:
        raise AssertionError("it was called")

    def learner(self, networks: Any) -> Any:
        raise AssertionError("it was called")


def test_halves_that_are_none_are_told() -> None:
    algorithm: Any = Halves()
    nothing: Any = None
    with pytest.raises(RunError, match=r"Halves\.actor returned a NoneType, expected an Actor"):
        make_actor(algorithm, nothing, nothing)
    with pytest.raises(RunError, match=r"Halves\.learner returned a NoneType, expected a Learner"):
        make_learner(algorithm, nothing, 1)


def test_halves_with_other_arguments_are_told() -> None:
    algorithm: Any = OneArgument()
    nothing: Any = None
    with pytest.raises(
        RunError, match=r"OneArgument\.actor\(policy.* does not take \(policy, place\)"
    ):
        make_actor(algorithm, nothing, nothing)
    with pytest.raises(
        RunError, match=r"OneArgument\.learner\(networks.* does not take \(networks, seed\)"
    ):
        make_learner(algorithm, nothing, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"weighting": "ranked"},
            "weighting is 'ranked', and has to be proportional or rank or linearRank",
        ),
        ({"start": "rows"}, "start is 'rows', and has to be row or episode"),
    ],
)
def test_a_replay_that_cannot_be_is_refused(changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Replay(8, 8, 8, 1.0, **changes)
