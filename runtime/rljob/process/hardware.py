"""What a role's process uses of the machine."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from rljob.system import resident_memory


@dataclass(frozen=True)
class HardwareUse:
    """Use of one process.

    Attributes:
        cores: seconds on a processor for each second, of all its threads.
        memory: resident bytes.
    """

    cores: float = 0.0
    memory: int = 0


class HardwareMeter:
    """Measures this process, from the last measurement on."""

    def __init__(self) -> None:
        self._before = self._now()

    def measure(self) -> HardwareUse:
        now, (since, used) = self._now(), self._before
        self._before = now
        cores = (now[1] - used) / max(1e-3, now[0] - since)
        return HardwareUse(round(cores, 3), resident_memory())

    def _now(self) -> tuple[float, float]:
        times = os.times()
        return time.monotonic(), times.user + times.system
