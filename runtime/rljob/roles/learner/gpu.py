"""What the learner uses of its GPU."""

from __future__ import annotations

import sys
from contextlib import suppress


def gpu_use() -> dict[str, float]:
    """`gpuMemory`, bytes that torch holds on the current CUDA device, and `gpuUse`, the share of the time in which it
    works, where the driver's library for Python (`nvidia-ml-py`) is installed; empty without a CUDA device in use."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    found = {"gpuMemory": float(torch.cuda.memory_reserved())}
    # It raises many things: without the library, without permission, in a part of a GPU.
    with suppress(Exception):
        found["gpuUse"] = torch.cuda.utilization() / 100
    return found
