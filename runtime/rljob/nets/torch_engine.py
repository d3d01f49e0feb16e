"""Acting with a network that only torch can run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from rljob.errors import RunError
from rljob.nets.parts import Arrays
from rljob.nets.torch_nets import Network


class TorchEngine:
    """Acts with any torch network on one CPU thread, in its precision; the counterpart of the numpy engines."""

    core_size = 0

    def __init__(self, module: Network, acting_heads: Sequence[str]) -> None:
        torch.set_num_threads(1)
        self._module = module.eval().requires_grad_(False)
        if module.half_precision:
            # Else its weights would be converted at every call.
            module.body.to(torch.bfloat16)
        self._heads = tuple(acting_heads)

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Use these weights from the next call on.

        Raises:
            RunError: naming tensors that are missing, unknown, or of the wrong shape.
        """
        try:
            self._module.load_state_dict(
                {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}
            )
        except RuntimeError as error:
            raise RunError(f"weights do not fit the network: {error}") from error

    def __call__(self, *inputs: np.ndarray, core: np.ndarray | None = None) -> Arrays:
        with torch.inference_mode():
            outputs = self._module(*map(torch.from_numpy, inputs))
        return {name: outputs[name].numpy() for name in self._heads}
