"""A batch of experience as tensors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def begins(valid: Tensor) -> Tensor:
    """Where episodes begin, bool `[T + 1, N]`: behind each row that only resets, `valid` `[T, N]` being False.

    Not in the first row: what came before it is part of the memory there.
    """
    return torch.cat([torch.zeros_like(valid[:1]), ~valid])


def tensors(
    batch: Mapping[str, np.ndarray], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """The same arrays by name on `device`; they may share memory with the batch."""
    found = {}
    for name, array in batch.items():
        # Torch has no tensors that cannot be written.
        writeable = array if array.flags.writeable else array.copy()
        found[name] = torch.from_numpy(writeable).to(device)
    return found
