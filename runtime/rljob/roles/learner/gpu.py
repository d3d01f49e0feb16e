"""What the learner uses of its GPU."""

from __future__ import annotations

import sys
from contextlib import suppress


def gpu_use(device: str) -> dict[str, float]:
    """`gpuMemory`, bytes that torch holds on a CUDA device, and `gpuUse`, the share of the time in which it works, where
    the driver's library for Python (`nvidia-ml-py`) is installed; empty where the learner uses no CUDA device.

    Args:
        device: `learner.device` of the job.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized() or device in ("cpu", "mps"):
        return {}
    place = None if device == "auto" else device
    found = {"gpuMemory": float(torch.cuda.memory_reserved(place))}
    # It raises many things: without the library, without permission, in a part of a GPU.
    with suppress(Exception):
        found["gpuUse"] = torch.cuda.utilization(place) / 100
    return found
