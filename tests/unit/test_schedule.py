"""Schedules: the number at each moment, what is refused and in which words, and both directions of YAML."""

from __future__ import annotations

import math
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from pydantic_core import PydanticCustomError

from rljob.algorithms.base import AlgorithmConfig, Positive, Rate, Share
from rljob.algorithms.progress import Progress
from rljob.algorithms.renamed import REPLACED, renamed
from rljob.algorithms.schedule import Schedule, SchedulePhase
from rljob.algorithms.settings import check_schedules, unfinished_schedules
from rljob.errors import InputError
from rljob.spec import StopSpec
from rljob.spec.invalid import allowed, checked


class Settings(AlgorithmConfig):
    """One setting of each kind."""

    learning_rate: Schedule[Rate] = Schedule(1e-3)
    """Step size."""
    epsilon: Schedule[Share] = Schedule(SchedulePhase(from_=1.0, to=0.05, steps=10_000))
    """Share of random actions."""
    value_clip: Schedule[Positive] | None = None
    """Largest change."""
    offset: Schedule[Annotated[float, Field(ge=-1, le=1)]] = Schedule(0.0)
    """May be negative."""


def settings(**config: Any) -> Settings:
    return checked(Settings, config, path="algorithm.config", label="X")


def made(value: Any) -> Schedule[Any]:
    return settings(learningRate=value).learning_rate


def course(value: Any, *steps: int, whole: int = 1000) -> list[float]:
    """The numbers at these steps of a job of `whole` steps."""
    schedule = made(value)
    return [schedule.at(Progress(step, step / whole)) for step in steps]


# The number at each moment


def test_a_number_stays() -> None:
    assert course(0.1, 0, 500, 1000) == [0.1, 0.1, 0.1]


def test_without_a_length_it_takes_the_whole_job() -> None:
    assert course({"from": 0.4, "to": 0}, 0, 750, 1000) == pytest.approx([0.4, 0.1, 0])


def test_a_length_in_steps_does_not_look_at_the_share() -> None:
    schedule = made({"from": 1.0, "to": 0.1, "steps": 100})
    found = [schedule.at(Progress(steps, 0.9)) for steps in (0, 50, 100, 10**9)]
    assert found == pytest.approx([1, 0.55, 0.1, 0.1])


def test_a_length_as_a_share_does_not_look_at_the_steps() -> None:
    schedule = made({"from": 1.0, "to": 0.1, "share": 0.5})
    found = [schedule.at(Progress(10**9, share)) for share in (0, 0.25, 0.5, 1)]
    assert found == pytest.approx([1, 0.55, 0.1, 0.1])


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        # At the start, a quarter, a half, three quarters of the phase, just before its end, at its end.
        ({"shape": "linear"}, [0.8, 0.625, 0.45, 0.275, 0.1007, 0.1]),
        ({"shape": "cosine"}, [0.8, 0.69749, 0.45, 0.20251, 0.1, 0.1]),
        ({"shape": "cosineRestarts", "cycles": 2}, [0.8, 0.45, 0.8, 0.45, 0.1, 0.1]),
        # Cycles of a fifth and four fifths.
        ({"shape": "cosineRestarts", "cycles": 2, "growth": 4}, [0.8, 0.793275, 0.583939, 0.25555, 0.1, 0.1]),
        ({"shape": "exponential"}, [0.8, 0.47568, 0.28284, 0.16818, 0.10021, 0.1]),
        ({"shape": "polynomial"}, [0.8, 0.49375, 0.275, 0.14375, 0.1, 0.1]),
        ({"shape": "polynomial", "power": 1}, [0.8, 0.625, 0.45, 0.275, 0.1007, 0.1]),
        ({"shape": "step"}, [0.8, 0.8, 0.28284, 0.28284, 0.28284, 0.1]),
        ({"shape": "step", "jumps": 3}, [0.8, 0.8, 0.4, 0.2, 0.2, 0.1]),
    ],
    ids=str,
)  # fmt: skip
def test_shapes(shape: dict[str, Any], found: list[float]) -> None:
    phase = {"from": 0.8, "to": 0.1, "steps": 1000, **shape}
    assert course(phase, 0, 250, 500, 750, 999, 1000) == pytest.approx(found, abs=1e-5)


def test_step_and_cosine_are_those_of_torch() -> None:
    from torch import nn, optim

    def torchs(make: Any) -> list[float]:
        optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
        scheduler, found = make(optimizer), []
        for _ in range(40):
            found.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
        return found

    schedulers = optim.lr_scheduler
    for phase, make in (
        ({"to": 1e-3, "shape": "step"}, lambda one: schedulers.StepLR(one, 20, 0.1)),
        ({"to": 1e-3, "shape": "cosine"}, lambda one: schedulers.CosineAnnealingLR(one, 40, 1e-3)),
        (
            {"to": 1e-3, "shape": "cosineRestarts", "cycles": 2, "growth": 3},
            lambda one: schedulers.CosineAnnealingWarmRestarts(one, 10, 3, 1e-3),
        ),
        ({"to": 0, "shape": "polynomial"}, lambda one: schedulers.PolynomialLR(one, 40, 2.0)),
        (
            {"to": 1e-3, "shape": "exponential"},
            lambda one: schedulers.ExponentialLR(one, 0.01 ** (1 / 40)),
        ),
    ):
        ours = course({"from": 0.1, "steps": 40, **phase}, *range(40))
        assert ours == pytest.approx(torchs(make), rel=1e-6)


def test_phases_follow_one_another() -> None:
    phases = [
        {"from": 0, "to": 0.2, "share": 0.1},
        {"from": 0.2, "to": 0.2, "share": 0.4},
        {"from": 0.1, "to": 0.02, "share": 0.3},
    ]
    found = course(phases, 0, 50, 100, 499, 500, 650, 800, 1000)
    assert found == pytest.approx([0, 0.1, 0.2, 0.2, 0.1, 0.06, 0.02, 0.02])


_VALUE = st.floats(1e-6, 1.0)
_SHAPE = st.sampled_from(
    ["linear", "cosine", "cosineRestarts", "exponential", "polynomial", "step"]
)


@given(_VALUE, _VALUE, _SHAPE, st.integers(0, 1000))
def test_a_phase_starts_and_ends_at_its_values_and_stays_between_them(
    first: float, last: float, shape: str, step: int
) -> None:
    if first == last:
        return
    phase = {"from": first, "to": last, "steps": 1000, "shape": shape}
    start, between, end = course(phase, 0, step, 1000)
    assert (start, end) == (first, last)
    low, high = min(first, last), max(first, last)
    assert low * (1 - 1e-9) <= between <= high * (1 + 1e-9)


# YAML in both directions

FORMS: list[Any] = [
    0.1,
    1,
    {"from": 0.1, "to": 0},
    {"from": 0.1, "to": 0.2, "steps": 1e4, "shape": "cosineRestarts", "growth": 2},
    [{"from": 0, "to": 0.1, "share": 0.1}, {"from": 0.1, "to": 0, "share": 0.9, "shape": "cosine"}],
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_it_is_written_as_it_was_read(form: Any) -> None:
    found = made(form)
    assert found.plain() == form
    assert made(found.plain()) == found
    assert Settings(learning_rate=found) == settings(learningRate=form)
    assert hash(found) == hash(made(form))


def test_defaults_are_written_and_are_in_the_schema() -> None:
    plain = Settings().model_dump(by_alias=True)
    assert plain["epsilon"] == {"from": 1.0, "to": 0.05, "steps": 10_000}
    assert settings(**plain) == Settings()
    fields = Settings.model_json_schema()["properties"]
    assert {name: field["default"] for name, field in fields.items()} == plain


def test_what_is_allowed_is_said_in_words() -> None:
    schema = Settings.model_json_schema()
    words = "a number above 0 and at most 1000, or a schedule {from, to, steps}"
    assert allowed(schema["properties"]["valueClip"], schema) == words


# Refused

AT = "algorithm.config.learningRate"


@pytest.mark.parametrize(
    ("value", "path", "words"),
    [
        (7, AT, "7 is not allowed; a number above 0 and at most 1, or a schedule {from, to, steps}"),
        (0, AT, "0 is not allowed; a number above 0"),
        (True, AT, "true is not allowed; a number above 0"),
        ("linear", AT, '"linear" is not allowed; a number above 0 and at most 1, or a schedule'),
        (None, AT, "null is not allowed"),
        (math.nan, AT, "NaN is not allowed"),
        ([], AT, "[] is not allowed"),
        ([0.1, 0.2], f"{AT}.0", "0.1 is not allowed; a mapping with from, to, steps, share"),
        ({"from": 0.1}, f"{AT}.to", "is required. Value at the end."),
        ({"from": 7, "to": 0}, f"{AT}.from", "7 is not allowed; a number from 0 to 1"),
        ({"from": 0.1, "to": math.inf}, f"{AT}.to", "Infinity is not allowed"),
        ([{"from": 0.1, "to": -1}], f"{AT}.0.to", "-1 is not allowed; a number from 0 to 1"),
        ({"from": 0.1, "to": 0, "step": 9}, f"{AT}.step", "unknown field. Did you mean steps?\n  learningRate knows: from,"),
        ([{"from": 0.1, "to": 0, "step": 9}], f"{AT}.0.step", "learningRate knows: from,"),
        ({"from": 0.1, "to": 0, "steps": 0}, f"{AT}.steps", "0 is not allowed; an integer from 1"),
        ({"from": 0.1, "to": 0, "share": 0}, f"{AT}.share", "0 is not allowed; a number above 0"),
        ({"from": 0.1, "to": 0, "share": 1.5}, f"{AT}.share", "1.5 is not allowed"),
        ({"from": 0.1, "to": 0, "steps": 9, "share": 1}, f"{AT}.share", "only one of steps and share"),
        ({"from": 0.1, "to": 0, "shape": "cos"}, f"{AT}.shape", '"cos" is not allowed; one of "linear"'),
        ({"from": 0.1, "to": 0, "power": 3}, f"{AT}.power", "is only allowed with shape: polynomial"),
        ({"from": 0.1, "to": 0, "shape": "cosineRestarts", "cycles": 1}, f"{AT}.cycles", "an integer from 2"),
        ({"from": 0.1, "to": 0, "shape": "exponential"}, f"{AT}.to", "neither leaves 0 nor reaches it. Use a small number"),
        ({"from": 0, "to": 0.1, "shape": "step"}, f"{AT}.from", "0 is not allowed with shape: step"),
        ({"from": 0.1, "to": 0.1, "steps": 9}, AT, "never changes: every value is 0.1. Write 0.1"),
        ([{"from": 0.1, "to": 0.1, "steps": 9}] * 2, AT, "never changes"),
        ([{"from": 0.1, "to": 0, "share": 0.6}] * 2, AT, "the shares of its phases sum to 1.2"),
        ([{"from": 0.1, "to": 0}] * 2, AT, "the shares of its phases sum to 2"),
        ([{"from": 0.1, "to": 0, "share": 0.6}, {"from": 0, "to": 0.1, "steps": 9}], AT, "phases in steps cannot follow"),
        ([{"from": 0.1, "to": 0, "steps": 9}] * 17, AT, "is not allowed"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_schedules_are_refused(value: Any, path: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        made(value)
    assert caught.value.path == path
    assert words in caught.value.message


def test_shapes_that_multiply_need_one_sign() -> None:
    with pytest.raises(InputError) as caught:
        settings(offset={"from": -0.5, "to": 0.5, "shape": "exponential"})
    assert caught.value.path == "algorithm.config.offset.to"
    below = settings(offset={"from": -0.5, "to": -0.125, "shape": "exponential"}).offset
    assert below.at(Progress(0, 0.5)) == -0.25


def test_a_default_of_phases_that_do_not_fit_fails_in_python() -> None:
    phase: SchedulePhase[float] = SchedulePhase(from_=0.1, to=0.1)
    with pytest.raises(PydanticCustomError, match="never changes"):
        Schedule(phase)


# What the job's end makes of it


@pytest.mark.parametrize(
    ("value", "stop", "words"),
    [
        ({"from": 0.1, "to": 0}, {"meanReturn": 5}, "stop gives no share of the job"),
        ({"from": 0.1, "to": 0.01, "steps": 90, "shape": "step"}, {"steps": 45}, "changes after 45 steps, and stop.steps is 45"),
        ([{"from": 0.1, "to": 0.1, "steps": 90}, {"from": 0.1, "to": 0, "steps": 9}], {"steps": 80}, "changes after 90 steps"),
        ([{"from": 0.1, "to": 0.1, "steps": 90}, {"from": 0.2, "to": 0, "steps": 9}], {"steps": 80}, "changes after 90 steps"),
    ],
    ids=str,
)  # fmt: skip
def test_a_schedule_that_never_changes_in_the_job_is_refused(
    value: Any, stop: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError) as caught:
        check_schedules(settings(learningRate=value), StopSpec(**stop))
    assert caught.value.path == AT
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("value", "stop"),
    [
        ({"from": 0.1, "to": 0}, {"steps": 5}),
        ({"from": 0.1, "to": 0}, {"duration": "5s"}),
        ({"from": 0.1, "to": 0}, {"updates": 5}),
        ({"from": 0.1, "to": 0}, {"episodes": 5}),
        ({"from": 0.1, "to": 0, "steps": 9}, {"meanReturn": 5}),
        ({"from": 0.1, "to": 0, "steps": 10**9}, {"steps": 5}),
    ],
    ids=str,
)
def test_a_schedule_that_changes_in_the_job_is_accepted(value: Any, stop: dict[str, Any]) -> None:
    check_schedules(settings(learningRate=value), StopSpec.model_validate(stop))


def test_a_default_is_not_refused_for_the_jobs_end_but_said() -> None:
    stop = StopSpec(steps=1000)
    check_schedules(Settings(), stop)
    (said,) = unfinished_schedules(Settings(), stop)
    assert said == (
        "algorithm.config.epsilon takes 10,000 steps to 0.05, and stop.steps is 1,000: it ends at 0.905"
    )
    assert list(unfinished_schedules(Settings(), StopSpec(steps=10_000))) == []


# Replaced settings


def replaced(**values: Any) -> dict[str, str]:
    defaults = {str(field.alias): field.default for field in Settings.model_fields.values()}
    return dict(renamed(values, defaults))


def test_the_message_for_a_replaced_setting_has_the_new_form_of_its_values() -> None:
    found = replaced(epsilonEnd=0.01, epsilonSteps=20000)
    assert found == dict.fromkeys(
        ("epsilonEnd", "epsilonSteps"),
        "is part of a schedule now; write epsilon: {from: 1.0, to: 0.01, steps: 20000}",
    )
    found = replaced(learningRateSchedule="linear", learningRate=0.002)
    assert found["learningRateSchedule"].endswith("write learningRate: {from: 0.002, to: 0}")
    assert replaced(learningRateSchedule="constant")["learningRateSchedule"].endswith(
        "write learningRate: 0.001"
    )


def test_an_algorithm_may_have_a_setting_of_a_replaced_name() -> None:
    values = dict.fromkeys(REPLACED, 1)
    assert list(renamed(values, {})) == []
    assert "epsilonEnd" not in dict(
        renamed(values, {"epsilon": Settings().epsilon, "epsilonEnd": 1})
    )
