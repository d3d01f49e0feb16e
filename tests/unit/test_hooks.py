"""Hooks of the user's own: which classes are refused, and that nothing that a method does reaches the training."""

from __future__ import annotations

import itertools
import logging
import random
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rljob.errors import AskedToEnd, InputError
from rljob.hooks import CheckpointSaved, StopTraining, TrainingStarted
from rljob.roles.learner.hooks import Hooks
from rljob.spec.hooks import HooksSpec
from rljob.telemetry.health import Health
from rljob.telemetry.metrics import LearnerMetrics
from rljob.user_code.hooks import HOOKS, UserHooks, load_hooks

_NUMBERS = itertools.count()
STARTED = TrainingStarted("x", Path("/r"), 3, False, 0, 0, 0)
SAVED = CheckpointSaved(Path("/r/checkpoints/7"), 7, 70)


def load(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str, **config: Any) -> UserHooks:
    """The class `Mine` of a module with this text."""
    monkeypatch.syspath_prepend(str(folder))
    name = f"hooks_{next(_NUMBERS)}"
    (folder / f"{name}.py").write_text(textwrap.dedent(source))
    return load_hooks(HooksSpec(entry_point=f"{name}:Mine", config=config))


def runner(user: UserHooks, strict: bool = False) -> Hooks:
    return Hooks(user, LearnerMetrics(), Health(60), lambda _: None, strict=strict)


REFUSED: dict[str, tuple[str, str]] = {
    "a function": ("def Mine(): pass", ":Mine is a function, expected a class"),
    "no method": (
        "class Mine:\n def update(self, event): pass",
        "has none of the methods on_start, on_episode, on_update, on_evaluation, on_checkpoint, on_end",
    ),
    "a near miss": (
        "class Mine:\n def on_updates(self, event): pass",
        "has on_updates, which is no hook. Did you mean on_update? Hooks are on_start,",
    ),
    "one of another library": (
        "class Mine:\n def on_start(self, e): pass\n def on_train_batch_end(self, e): pass",
        "has on_train_batch_end, which is no hook. Did you mean on_update?",
    ),
    "one of Stable-Baselines3": (
        "class Mine:\n def on_end(self, e): pass\n def _on_step(self): return True",
        "has _on_step, which is no hook. Did you mean on_update?",
    ),
    "in camelCase": (
        "class Mine:\n def onEpisode(self, e): pass",
        "has onEpisode, which is no hook. Did you mean on_episode?",
    ),
    "nothing near": (
        "class Mine:\n def on_xyzzy(self, e): pass\n def on_end(self, e): pass",
        "has on_xyzzy, which is no hook. Hooks are",
    ),
    "no parameter": (
        "class Mine:\n def on_end(self): pass",
        "Mine.on_end() does not take (self, event)",
    ),
    "two parameters": (
        "class Mine:\n def on_end(self, a, b): pass",
        "Mine.on_end(a, b) does not take (self, event)",
    ),
    "async": (
        "class Mine:\n async def on_end(self, e): pass",
        "Mine.on_end is async: it would never run",
    ),
    "a generator": (
        "class Mine:\n def on_end(self, e): yield",
        "Mine.on_end has a yield: it would never run",
    ),
    "a value": ("class Mine:\n on_end = 3", "Mine.on_end is a int, expected a method"),
    "half of its state": (
        "class Mine:\n def on_end(self, e): pass\n def state_dict(self): return 1",
        "has state_dict and no load_state_dict: a restart needs both",
    ),
    "a constructor that raises": (
        "class Mine:\n def __init__(self): raise KeyError('no token')",
        ":Mine raised KeyError: 'no token' (",
    ),
    "a constructor that exits": (
        "class Mine:\n def __init__(self): raise SystemExit(3)",
        "sys.exit(3)",
    ),
    "a property that raises": (
        "class Mine:\n @property\n def on_end(self): raise OSError('gone')",
        ":Mine raised OSError: gone",
    ),
    "an error without a text": (
        "class E(Exception):\n def __str__(self): raise ValueError\nclass Mine:\n def __init__(self): raise E",
        ":Mine raised E: (its text cannot be had)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_class_is_refused(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, words = REFUSED[case]
    with pytest.raises(InputError) as caught:
        load(tmp_path, monkeypatch, source)
    assert caught.value.path == "hooks.entryPoint"
    assert words in caught.value.message


def test_wrong_settings_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "class Mine:\n def __init__(self, patience=1): pass\n def on_end(self, e): pass"
    with pytest.raises(
        InputError, match=r"got an unexpected keyword argument 'patient'.*takes patience"
    ) as caught:
        load(tmp_path, monkeypatch, source, patient=3)
    assert caught.value.path == "hooks.config"
    assert set(load(tmp_path, monkeypatch, source, patience=3).methods) == {"on_end"}


def test_methods_may_be_inherited_and_helpers_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
        class Base:
            def on_start(self, event): pass
            @staticmethod
            def on_end(event, *more): pass
        class Mine(Base):
            on = once = 3
            def _on_new_best(self): pass
            def save(self, a, b): pass
    """
    assert list(load(tmp_path, monkeypatch, source).methods) == ["on_start", "on_end"]


RAISES = """
    class Loud(Exception):
        def __str__(self): raise ValueError("no text")
    class Mine:
        count = 0
        def on_episode(self, event):
            self.count += 1
            raise {raised}
        def on_update(self, event):
            return {returned}
"""


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        ("ValueError('bad')", "ValueError: bad ("),
        ("SystemExit(1)", "sys.exit(1)"),
        ("SystemExit(1)", 'return rljob.StopTraining("reason") to end the run'),
        ("KeyboardInterrupt", "KeyboardInterrupt ("),
        ("GeneratorExit", "GeneratorExit ("),
        ("Loud", "Loud: (its text cannot be had)"),
    ],
)
def test_what_a_method_raises_is_told_once_and_counted(
    raised: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = RAISES.format(raised=raised, returned="None")
    hooks = runner(load(tmp_path, monkeypatch, source))
    with caplog.at_level(logging.WARNING, "rljob"):
        for _ in range(3):
            hooks.call("on_episode", None)
            hooks.call("on_update", None)
    (told,) = [record.getMessage() for record in caplog.records]
    assert words in told
    assert "Training goes on" in told
    assert "in on_episode\n" in told, "the traceback begins in the user's file"
    assert "rljob/roles" not in told
    assert hooks.failures is not None
    assert (hooks.failures.count, hooks.stop) == (3, None)
    assert ":Mine.on_episode: " in hooks.failures.message


@pytest.mark.parametrize("returned", ["True", "'stop'", "StopTraining"])
def test_other_answers_are_told(
    returned: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from rljob import StopTraining\n" + textwrap.dedent(
        RAISES.format(raised="ValueError", returned=returned)
    )
    hooks = runner(load(tmp_path, monkeypatch, source))
    hooks.call("on_update", None)
    assert hooks.failures is not None
    assert "expected None or rljob.StopTraining(reason)" in hooks.failures.message
    assert hooks.stop is None


def test_a_request_to_end_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = UserHooks("a:B", {"on_update": lambda _: _end()})
    with pytest.raises(AskedToEnd):
        runner(user).call("on_update", None)


def _end() -> None:
    raise AskedToEnd


def test_the_first_reason_to_stop_counts() -> None:
    hooks = runner(
        UserHooks(
            "a:B",
            {
                "on_end": lambda _: StopTraining("too late"),
                "on_update": lambda _: StopTraining("no\nbetter  than before"),
                "on_checkpoint": lambda _: StopTraining("again"),
            },
        )
    )
    hooks.call("on_end", None)
    assert hooks.stop is None
    for name in ("on_update", "on_checkpoint"):
        hooks.call(name, SAVED)  # type: ignore[arg-type]
    assert hooks.stop is not None
    assert hooks.stop.reason == "StoppedByHook"
    assert hooks.stop.text == "a:B.on_update: no better than before"


@pytest.mark.parametrize("reason", ["", "  ", None, 3])
def test_a_stop_needs_a_reason(reason: Any) -> None:
    with pytest.raises(ValueError, match="StopTraining needs a reason, a text"):
        StopTraining(reason)


def test_a_start_that_fails_ends_a_job_only_before_it_has_trained() -> None:
    def fails(_: object) -> None:
        raise OSError("no network")

    user = UserHooks("a:B", {"on_start": fails})
    with pytest.raises(InputError, match=r"^hooks.entryPoint: a:B.on_start: OSError: no network"):
        runner(user).start(STARTED)
    resumed = TrainingStarted("x", Path("/r"), 3, True, 9, 9, 9)
    hooks = runner(user)
    hooks.start(resumed)
    assert hooks.failures is not None


def test_strict_hooks_leave_the_random_generators_as_they_were() -> None:
    def draws(_: object) -> None:
        random.random()
        np.random.rand()
        torch.rand(3)
        torch.manual_seed(0)

    def numbers() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    def seeded() -> None:
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)

    seeded()
    expected = numbers()
    for strict in (True, False):
        hooks = runner(UserHooks("a:B", {"on_update": draws}), strict)
        seeded()
        hooks.call("on_update", None)
        assert (numbers() == expected) == strict


def test_strict_hooks_leave_the_generators_of_devices_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    devices = {"cuda": [1, 2], "mps": 3}
    for name, get, give in (
        ("cuda", "get_rng_state_all", "set_rng_state_all"),
        ("mps", "get_rng_state", "set_rng_state"),
    ):
        place = getattr(torch, name)
        monkeypatch.setattr(place, get, lambda name=name: devices[name])
        monkeypatch.setattr(place, give, lambda state, name=name: devices.update({name: state}))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    hooks = runner(
        UserHooks("a:B", {"on_update": lambda _: devices.update(cuda=[0], mps=0)}), strict=True
    )
    hooks.call("on_update", None)
    assert devices == {"cuda": [1, 2], "mps": 3}
    assert hooks.failures is None


def test_what_a_hook_remembers() -> None:
    given: list[Any] = []
    values: list[Any] = [{"best": 1.5}, {1, 2}, float("nan"), object()]
    user = UserHooks("a:B", {"on_end": lambda _: None}, lambda: values.pop(0), given.append)
    hooks = runner(user)
    hooks.restore(hooks.state())
    hooks.restore(None)
    assert given == [{"best": 1.5}]
    while values:
        assert hooks.state() is None
    assert hooks.failures is not None
    assert hooks.failures.message.startswith("a:B.state_dict: TypeError")
    assert hooks.failures.count == 3


def test_a_hook_that_hangs_is_named_and_time_is_counted() -> None:
    health, spent, seen = Health(60), list[float](), list[str]()
    user = UserHooks("a:B", {"on_update": lambda _: seen.append(health.doing)})
    hooks = Hooks(user, LearnerMetrics(), health, spent.append)
    health.doing = "update"
    hooks.call("on_update", None)
    hooks.call("on_end", None)
    assert (seen, health.doing) == (["hook on_update"], "update")
    assert len(spent) == 1
    assert hooks.seconds == spent[0] > 0
    assert not hooks.has("on_end")


def test_without_hooks_nothing_is_called() -> None:
    hooks = Hooks(None, LearnerMetrics(), Health(60), lambda _: None)
    for name in HOOKS:
        hooks.call(name, None)
    assert (hooks.state(), hooks.failures, hooks.stop) == (None, None, None)
