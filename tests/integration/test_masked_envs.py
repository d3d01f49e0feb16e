"""Action masks of environments: every form of them is read, and one that is none is told."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from rljob.algorithms.base import Acted, Actor, Arrays, OnPolicy, Place, Policy, Seen
from rljob.envs.spaces import Spaces
from rljob.envs.vector import Environments
from rljob.errors import InputError, RLJobError, RunError
from rljob.nets.acting import ActingNetworks
from rljob.roles.rollout.collect import Collector
from rljob.spec import EnvironmentSpec
from rljob.wire.experience import ExperienceFormat
from tests.integration.doors import DOORS, LENGTH, Doors, Steered, several

WALLS = (2, 3)


def made(
    factory: Any, count: int = 2, action: str = "", masks: bool | None = None, **kwargs: Any
) -> Environments:
    """Args: `action` is what `environment.convert.action` makes of the actions."""
    name = f"{factory.__module__}:{factory.__name__}"
    convert = {"action": {"to": action}} if action else None
    values = {"entryPoint": name, "kwargs": kwargs, "convert": convert, "masks": masks}
    return Environments(EnvironmentSpec.model_validate(values), count)


def allowed(envs: Environments, rng: np.random.Generator) -> np.ndarray:
    """Actions that the masks allow, drawn at random."""
    assert envs.mask is not None
    chance = np.where(envs.mask, rng.random(envs.mask.shape), -1)
    if not envs.spaces.action.shape:
        return np.asarray(chance.argmax(axis=1))
    return np.stack([part.argmax(axis=1) for part in np.split(chance, [WALLS[0]], axis=1)], axis=1)


def play(envs: Environments, steps: int) -> int:
    """Take allowed actions, of which the environments raise for any other; returns the episodes that ended."""
    rng, ends = np.random.default_rng(0), 0
    envs.reset(1)
    for _ in range(steps):
        step = envs.step(allowed(envs, rng))
        ends += int(step.ended.sum())
    envs.close()
    return ends


@pytest.mark.parametrize(
    ("form", "nvec"),
    [(form, nvec) for form in ("info", "dict", "list", "float") for nvec in ((), WALLS)]
    + [("tuple", WALLS)],
)
@pytest.mark.parametrize("factory", [Doors, several])
def test_masks_are_those_of_the_next_step(factory: Any, form: str, nvec: tuple[int, ...]) -> None:
    envs = made(factory, form=form, nvec=nvec)
    assert envs.vectorised is (factory is several)
    assert envs.spaces.masked
    assert envs.spaces.mask_size == (sum(nvec) or DOORS)
    assert str(envs.spaces.observation) == "Discrete(1)"
    envs.reset(0)
    assert envs.mask is not None
    assert envs.mask.dtype == np.bool_
    assert envs.mask.shape == (2, envs.spaces.mask_size)
    assert play(envs, 5 * (LENGTH + 1)) == 10


@pytest.mark.parametrize("form", ["info", "dict", "tuple"])
def test_of_choices_that_became_one_every_allowed_combination_is_allowed(form: str) -> None:
    envs = made(Doors, form=form, nvec=WALLS, action="discrete")
    assert (envs.spaces.masked, envs.spaces.mask_size) == (True, 6)
    assert envs.own_spaces.mask_size == 5
    assert play(envs, 5 * (LENGTH + 1)) == 10
    envs = made(Doors, nvec=WALLS, action="discrete")
    envs.reset(3)
    assert envs.mask is not None
    first, second = np.split(envs._masks.array, [2], axis=1)  # type: ignore[union-attr]
    expected = [
        [a and b for a in row for b in other] for row, other in zip(first, second, strict=True)
    ]
    np.testing.assert_array_equal(envs.mask, expected)
    with pytest.raises(RunError, match="chose action 6 in environment 0"):
        envs.step(np.full(2, 6))


def test_numbers_that_stand_for_choices_have_no_masks() -> None:
    with pytest.raises(
        InputError, match=r"continuous actions cannot have; environment\.masks: false ignores"
    ) as caught:
        _ = made(Doors, action="continuous").spaces
    assert caught.value.path == "environment.convert.action"


@pytest.mark.parametrize("action", ["", "continuous"])
@pytest.mark.parametrize("form", ["info", "dict"])
@pytest.mark.parametrize("factory", [Doors, several])
def test_masks_can_be_ignored(factory: Any, form: str, action: str) -> None:
    # No door of these is closed. Masks that begin with the second episode are refused where masks are used.
    fault = "second" if form == "info" else "open"
    envs = made(factory, masks=False, form=form, fault=fault, action=action)
    assert not envs.spaces.masked
    assert not envs.own_spaces.masked
    np.testing.assert_array_equal(envs.reset(0), [0, 0])
    space = envs.spaces.action
    ends = 0
    for _ in range(3 * (LENGTH + 1)):
        step = envs.step(np.zeros((2, *space.shape), space.dtype))
        assert envs.mask is None
        np.testing.assert_array_equal(step.observation, [0, 0])
        ends += int(step.ended.sum())
    assert ends == 6


@pytest.mark.parametrize("form", ["info", "dict"])
def test_masks_of_a_box_can_be_ignored(form: str) -> None:
    envs = made(Steered, masks=False, form=form)
    assert not envs.spaces.masked
    np.testing.assert_array_equal(envs.reset(0), [0, 0])


def test_an_ignored_mask_beside_no_observation_is_told() -> None:
    envs = made(Doors, masks=False, form="dict")
    envs._stepper._envs[0]._seen = lambda: (0, {})  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="returned a int without the key 'observation'"):
        envs.reset(0)


def test_where_no_step_follows_a_mask_may_allow_nothing() -> None:
    envs = made(Doors, 1)
    envs.reset(0)
    for _ in range(LENGTH):
        step = envs.step(allowed(envs, np.random.default_rng(0)))
    assert step.ended.all()
    assert envs.mask is not None
    assert envs.mask.all(), "stored as all allowed"
    envs.step(np.zeros(1, np.int64))
    assert not envs.mask.all(), "the next episode has its own"


FAULTS = {
    "none": "no action mask; every reset and step has to give",
    "shape": "an action mask of shape (3,), expected (4,), one 0 or 1 for each action",
    "dtype": "an action mask of dtype <U5, expected 0 or 1",
    "value": "an action mask that holds 2",
    "nan": "an action mask that holds nan",
    "closed": "an action mask that allows no action of Discrete(4, start=3)",
}
# SyncVectorEnv cannot put other masks beside those of other environments.
SINGLE = [(Doors, form, fault) for form in ("info", "dict") for fault in FAULTS]
VECTOR = [(several, "info", fault) for fault in ("none", "value", "nan", "closed")] + [
    (several, "dict", "closed")
]


@pytest.mark.parametrize("at", [0, 3, LENGTH])
@pytest.mark.parametrize(
    ("factory", "form", "fault"),
    [*SINGLE, *VECTOR],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_what_is_no_mask_is_told_with_its_environment_and_step(
    factory: Any, form: str, fault: str, at: int
) -> None:
    if (fault, form) == ("none", "info"):
        # At the first reset it decides that there are no masks at all.
        at = at or 1
    if at == LENGTH:
        # Nothing is asked of the last mask of an episode.
        assert play(made(factory, form=form, fault=fault, at=at), LENGTH) == 2
        return
    with pytest.raises(RLJobError) as caught:
        play(made(factory, form=form, fault=fault, at=at), LENGTH)
    where = "at reset" if at == 0 else f"at step {at - 1}"
    assert f"environment 0 gave {where} {FAULTS[fault]}" in str(caught.value)
    # Before the first step is over it is an error of the environment's author: no restart is a remedy.
    assert isinstance(caught.value, InputError if at < 2 else RunError)


@pytest.mark.parametrize("factory", [Doors, several])
def test_masks_that_come_late_are_refused(factory: Any) -> None:
    late = made(factory, fault="late", at=1)
    assert late.mask is None
    late.reset(0)
    with pytest.raises(
        InputError, match=r"gave info\['action_mask'\] after 0 steps: there was none"
    ):
        late.step(np.zeros(2, np.int64))


def test_masks_that_come_with_a_later_episode_are_refused() -> None:
    envs = made(Doors, 1, fault="second")
    envs.reset(0)
    for _ in range(LENGTH):
        envs.step(np.zeros(1, np.int64))
    with pytest.raises(RunError, match="after 10 steps: there was none at the first reset"):
        envs.step(np.zeros(1, np.int64))


@pytest.mark.parametrize("form", ["info", "dict"])
def test_a_box_has_no_masks(form: str) -> None:
    with pytest.raises(
        InputError, match=r"actions Box\(.*\) cannot have a mask; Discrete and"
    ) as e:
        made(Steered, form=form).reset(0)
    assert e.value.path == "environment"


@pytest.mark.parametrize("factory", [Doors, several])
def test_an_action_that_is_not_allowed_never_reaches_the_environment(factory: Any) -> None:
    envs = made(factory)
    envs.reset(0)
    assert envs.mask is not None
    action = envs.mask.argmax(axis=1)
    action[1] = envs.mask[1].argmin()
    assert not envs.mask[1].all()
    open_doors = np.flatnonzero(envs.mask[1]).tolist()
    with pytest.raises(RunError) as caught:
        envs.step(action)
    assert f"action {action[1]} in environment 1, whose mask allows {open_doors}" in str(
        caught.value
    )
    assert "`seen.mask`" in str(caught.value)
    with pytest.raises(RunError, match=f"action {DOORS} in environment 0"):
        envs.step(np.full(2, DOORS))


def test_no_action_is_asked_for_where_a_step_only_resets() -> None:
    envs = made(Doors, 1, nvec=WALLS)
    rng = np.random.default_rng(0)
    envs.reset(0)
    for _ in range(LENGTH):
        envs.step(allowed(envs, rng))
    assert not envs.valid.any()
    envs.step(np.full((1, 2), 99))
    with pytest.raises(RunError, match=r"action \[1 3\] in environment 0, whose mask allows \[\["):
        envs.step(np.array([[1, 3]]))


def test_taxi_tells_which_moves_do_something() -> None:
    envs = Environments(EnvironmentSpec(id="Taxi-v4"), 3)
    assert envs.spaces.masked
    observation = envs.reset(0)
    assert envs.mask is not None
    single: Any = gymnasium.make("Taxi-v4").unwrapped
    expected = [single.action_mask(int(state)) for state in observation]
    np.testing.assert_array_equal(envs.mask, np.array(expected, bool))


@pytest.mark.parametrize("factory", [Doors, several])
def test_looking_for_masks_leaves_no_trace_in_the_seeds(factory: Any) -> None:
    first, again = (made(factory, 8) for _ in range(2))
    for envs in (first, again):
        envs.reset(5)
    assert first.mask is not None
    np.testing.assert_array_equal(first.mask, again.mask)
    # The reset of the search has a seed; one that asks for fresh entropy gets it.
    others = [made(factory, 8) for _ in range(4)]
    for envs in others:
        envs.reset(None)
    assert len({envs.mask.tobytes() for envs in others if envs.mask is not None}) > 1


@pytest.mark.parametrize(
    "mask",
    [
        spaces.MultiBinary(DOORS),
        spaces.MultiDiscrete([2] * DOORS),
        spaces.Box(0, 1, (DOORS,), np.int8),
        spaces.Box(0.0, 1.0, (DOORS,)),
    ],
    ids=str,
)
def test_every_space_of_zeros_and_ones_is_one_of_masks(mask: Any) -> None:
    observation = spaces.Dict({"observation": spaces.Box(-1, 1, (3,)), "action_mask": mask})
    found = Spaces.from_gymnasium(observation, spaces.Discrete(DOORS))
    assert (found.masked, found.mask_size) == (True, DOORS)
    assert found.observation.shape == (3,)


@pytest.mark.parametrize(
    ("mask", "more", "action", "words"),
    [
        (
            spaces.MultiBinary(3),
            {},
            spaces.Discrete(4),
            "is MultiBinary(3); expected MultiBinary(4)",
        ),
        (spaces.Box(0, 2, (4,)), {}, spaces.Discrete(4), "expected MultiBinary(4)"),
        (spaces.MultiDiscrete([3] * 4), {}, spaces.Discrete(4), "expected MultiBinary(4)"),
        (spaces.Discrete(4), {}, spaces.Discrete(4), "expected MultiBinary(4)"),
        (spaces.MultiBinary(4), {}, spaces.MultiDiscrete(list(WALLS)), "expected MultiBinary(5)"),
        (spaces.MultiBinary(4), {}, spaces.Box(-1, 1, (4,)), "cannot have a mask"),
        (
            spaces.MultiBinary(4),
            {"map": spaces.Discrete(2)},
            spaces.Discrete(4),
            "has the keys action_mask, map, observation; with 'action_mask', rljob takes the two keys",
        ),
    ],
    ids=str,
)
def test_spaces_that_hold_no_mask_are_named(mask: Any, more: Any, action: Any, words: str) -> None:
    observation = spaces.Dict({"observation": spaces.Discrete(2), "action_mask": mask, **more})
    with pytest.raises(InputError) as caught:
        Spaces.from_gymnasium(observation, action)
    assert words in caught.value.message
    assert caught.value.path == "environment"


def collected(algorithm: Any, steps: int) -> list[Arrays]:
    """Two segments of three environments."""
    environments = made(Doors, 3)
    networks = ActingNetworks({})
    networks.load({})
    collector = Collector([environments], networks, algorithm, steps)
    collector.reset((0,))
    plan = ExperienceFormat.of(OnPolicy(steps), (), 3, environments.spaces)
    segments = []
    for _ in range(2):
        _, segment = plan.layout.allocate()
        collector.collect(segment, lambda: None)
        segments.append(segment)
    environments.close()
    return segments


class Obedient(Actor):
    """Takes the last allowed action, and remembers the masks that it saw."""

    def act(self, seen: Seen) -> Acted:
        assert seen.mask is not None
        self.algorithm.masks.append(seen.mask.copy())
        return Acted(seen.mask.shape[1] - 1 - seen.mask[:, ::-1].argmax(axis=1))


class Deaf(Actor):
    """Knows no masks."""

    def act(self, seen: Seen) -> Acted:
        return Acted(self.rng.integers(DOORS, size=len(seen.valid)))


class Choosing:
    """An algorithm with one of these actors; it does not learn."""

    def __init__(self, actor: type[Actor]) -> None:
        self._actor = actor
        self.masks: list[np.ndarray] = []

    def actor(self, policy: Policy, place: Place) -> Actor:
        return self._actor(self, policy, place)


def test_a_segment_has_the_mask_of_every_observation() -> None:
    algorithm = Choosing(Obedient)
    first, second = collected(algorithm, 17)
    np.testing.assert_array_equal(first["mask"][17], second["mask"][0])
    seen = np.concatenate([first["mask"][:17], second["mask"][:17]])
    np.testing.assert_array_equal(seen, np.array(algorithm.masks))
    taken = np.concatenate([first["action"], second["action"]])
    assert np.take_along_axis(seen, taken[..., None], axis=-1).all()
    assert len(np.unique(taken)) > 1


def test_an_algorithm_that_does_not_look_at_masks_is_told() -> None:
    with pytest.raises(RunError, match=r"chose action \d in environment \d, whose mask allows \["):
        collected(Choosing(Deaf), 17)
