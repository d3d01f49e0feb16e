"""What a user's algorithm answers in a wrong form is said with the class, what came and what is expected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rljob.algorithms.acting import Acted
from rljob.algorithms.answers import check_acted, check_update
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
    ],
)
def test_what_an_actor_answers_wrongly_is_told(acted: Any, message: str) -> None:
    with pytest.raises(RunError, match=rf"^MyActor\.act returned {message}|{message}"):
        check_acted("MyActor", acted, ROWS)


def test_what_a_learner_answers_wrongly_is_told() -> None:
    update = Update({"loss": 1.0})

    assert check_update(object(), update) is update
    with pytest.raises(
        RunError, match=r"object\.update returned a dict, expected Update\(metrics\)"
    ):
        check_update(object(), {"loss": 1.0})


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
