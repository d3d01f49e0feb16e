"""Calls the user's hooks between updates, and keeps what they raise apart from the training."""

from __future__ import annotations

import json
import logging
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from rljob.errors import AskedToEnd, InputError
from rljob.hooks import STOPPED_BY_HOOK, StopTraining, TrainingStarted
from rljob.roles.learner.progress import StopReached
from rljob.run_folder.record import HookFailures
from rljob.telemetry.health import Health
from rljob.telemetry.metrics import LearnerMetrics
from rljob.user_code.failure import explain, trace
from rljob.user_code.hooks import HookName, UserHooks

SLOW_SECONDS = 5.0
"""Seconds of one call from which on it is told."""
_LONGEST = 500
_LOG = logging.getLogger("rljob")


class Hooks:
    """The hooks of one life of the learner.

    What a method raises is counted, and told once for each method with its traceback: training goes on.

    Args:
        user: None for a job without hooks.
        spent: is told the seconds of each call.
        strict: whether calls leave the global random generators as they were.

    Attributes:
        stop: that a method asked for, if one did.
        seconds: of all calls.
        failures: what methods raised in this life; None while there is nothing.
    """

    def __init__(
        self,
        user: UserHooks | None,
        metrics: LearnerMetrics,
        health: Health,
        spent: Callable[[float], None],
        *,
        strict: bool = False,
    ) -> None:
        self._user = user
        self._metrics, self._health, self._spent = metrics, health, spent
        self._strict = strict
        self._told: set[str] = set()
        self._slow: set[str] = set()
        self.stop: StopReached | None = None
        self.seconds = 0.0
        self.failures: HookFailures | None = None

    def has(self, name: HookName) -> bool:
        return self._user is not None and name in self._user.methods

    def start(self, event: TrainingStarted) -> None:
        """Call `on_start`.

        Raises:
            InputError: it raised in a run that has trained on nothing yet.
        """
        self.call("on_start", event)
        if self.failures is not None and not event.resumed:
            raise InputError(self.failures.message, path="hooks.entryPoint")

    def call(self, name: HookName, event: Any) -> None:
        """Call a method, if the user's object has it."""
        if self._user is None or name not in self._user.methods:
            return
        method = self._user.methods[name]
        with self._fenced(name):
            answer = method(event)
            if isinstance(answer, StopTraining):
                self._ask_to_stop(name, answer)
            elif answer is not None:
                expected = "None or rljob.StopTraining(reason)"
                self._failed(name, f"returned {answer!r:.80}, expected {expected}")

    def state(self) -> Any:
        """What the user's object remembers, for the checkpoint; None if nothing."""
        saved = None
        if self._user is not None and self._user.saves is not None:
            with self._fenced("state_dict"):
                value = self._user.saves()
                saved = json.loads(json.dumps(value, allow_nan=False))
        return saved

    def restore(self, state: Any) -> None:
        """Give it back what `state` returned."""
        if state is not None and self._user is not None and self._user.loads is not None:
            with self._fenced("load_state_dict"):
                self._user.loads(state)

    @contextmanager
    def _fenced(self, name: str) -> Iterator[None]:
        before, self._health.doing = self._health.doing, f"hook {name}"
        began = time.monotonic()
        try:
            with _generators_kept(self._strict):
                yield
        except AskedToEnd:
            raise
        except BaseException as error:
            # Ctrl-C sets a flag in the learner: a KeyboardInterrupt is the hook's own.
            raised = explain(error)
            if isinstance(error, SystemExit):
                raised = f'{raised}; return rljob.StopTraining("reason") to end the run'
            self._failed(name, raised, trace(error))
        finally:
            self._health.doing = before
            self._health.beat()
            self._took(name, time.monotonic() - began)

    def _ask_to_stop(self, name: str, answer: StopTraining) -> None:
        if self.stop is None and name != "on_end":
            reason = " ".join(answer.reason.split())[:_LONGEST]
            assert self._user is not None
            self.stop = StopReached(STOPPED_BY_HOOK, f"{self._user.label}.{name}: {reason}")

    def _failed(self, name: str, how: str, frames: str = "") -> None:
        assert self._user is not None
        self._metrics.hook_failures.inc()
        message = f"{self._user.label}.{name}: {how}"
        count, first = 1, message
        if self.failures is not None:
            count, first = self.failures.count + 1, self.failures.message
        self.failures = HookFailures(count, first, round(time.time(), 3))
        if name not in self._told:
            self._told.add(name)
            further = f"Training goes on; more failures of {name} are counted and not shown"
            _LOG.warning("%s", "\n".join(filter(None, [f"{message}. {further}", frames.rstrip()])))

    def _took(self, name: str, seconds: float) -> None:
        self.seconds += seconds
        self._spent(seconds)
        if seconds >= SLOW_SECONDS and name not in self._slow:
            self._slow.add(name)
            _LOG.warning("hook %s took %.1f s: training waits for it", name, seconds)


@contextmanager
def _generators_kept(wanted: bool) -> Iterator[None]:
    """Leave the global random generators as they were: what the algorithm draws does not depend on the hooks."""
    if not wanted:
        yield
        return
    states = random.getstate(), np.random.get_state()
    restore = _torch_generators(sys.modules.get("torch"))
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        restore()


def _torch_generators(torch: Any) -> Callable[[], None]:
    """What gives torch's generators the states that they have now: those of the CPU and of the devices in use."""
    if torch is None:
        return lambda: None
    states = [(torch.set_rng_state, torch.get_rng_state())]
    if torch.cuda.is_initialized():
        states.append((torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    if torch.backends.mps.is_available():
        states.append((torch.mps.set_rng_state, torch.mps.get_rng_state()))

    def restore() -> None:
        for give_back, state in states:
            give_back(state)

    return restore
