"""Which of two policies answers whom, and what each has returned. Pure."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

_PARTS = 1 << 32


def belongs(key: str, share: float) -> bool:
    """Whether a caller is among the share of callers that the second policy answers: always the same for one key.

    Args:
        share: in [0, 1].
    """
    digest = hashlib.sha256(key.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:4], "big") < share * _PARTS


@dataclass
class ReturnStatistics:
    """Mean and spread of what callers reported (Welford 1962), without keeping it."""

    count: int = 0
    mean: float = 0.0
    _squares: float = 0.0

    def add(self, value: float) -> None:
        """Raises ValueError where it is infinite or not a number."""
        if not math.isfinite(value):
            raise ValueError(f"{value} is not finite")
        self.count += 1
        moved = value - self.mean
        self.mean += moved / self.count
        self._squares += moved * (value - self.mean)

    @property
    def standard_error(self) -> float | None:
        """Of the mean; None with fewer than two."""
        if self.count < 2:
            return None
        return math.sqrt(self._squares / (self.count - 1) / self.count)

    def to_json(self) -> dict[str, float | int | None]:
        """Plain JSON values."""
        mean = self.mean if self.count else None
        return {"episodes": self.count, "mean": mean, "standardError": self.standard_error}
