"""A network that scores each of many candidates with the same weights, and its numpy engine.

For choices such as the next task of a scheduler: an observation has a row of features for each candidate, and
action `k` chooses candidate `k`. Hidden layers see one candidate each. Their outputs are pooled over all candidates
by mean and by maximum (Zaheer et al. 2017, https://arxiv.org/abs/1703.06114). A score comes from a candidate's and the
pooled features, other outputs from the pooled features. So the order of candidates does not matter, and there are
as many weights for two candidates as for a thousand. `nets.torch_candidates` trains the same, and its tensors are:

    encoder.{mean,std}                          [*encoded_shape]
    encoder.limit                               []
    body.each.<i>.{weight,bias}                 [out, in], [out]: one candidate
    body.scores.<i>.{weight,bias}               the same: one candidate and the pooled features
    body.pooled.<i>.{weight,bias}               the same: the pooled features
    body.{each,scores,pooled}.norms.<i>.{weight,bias}  [out], [out]: with layerNorm
    body.heads.<head>.{weight,bias}             [out, in], [out]; a score has one output
    free.<head>                                 [size]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rljob.envs.spaces import BoxSpace, Space, encode, encoded_size
from rljob.errors import InputError
from rljob.nets.hidden import HiddenLayers
from rljob.nets.numpy_engine import NumpyEngine
from rljob.nets.parts import Arrays, Layer, Loadable

if TYPE_CHECKING:
    from rljob.nets.configs import CandidatesConfig
    from rljob.nets.head import Head


def candidates(space: Space) -> tuple[int, int]:
    """How many there are, and the features of each.

    Raises:
        InputError: with path `network.name`, when the observations are no rows of features.
    """
    if not isinstance(space, BoxSpace) or len(space.shape) != 2:
        raise InputError(
            "candidates needs a row of features for each candidate, a Box of two dimensions; the observations are "
            f"{space}; mlp takes any",
            path="network.name",
        )
    return space.shape[0], space.shape[1]


class CandidatesEngine(NumpyEngine):
    """Acts with the network: rows of features `[N, K, F]` to `{head: float32 [N, size]}`, without torch.

    Raises:
        InputError: as `candidates`.
    """

    def __init__(
        self,
        config: CandidatesConfig,
        inputs: Sequence[Space],
        heads: Mapping[str, Head],
        acting_heads: Sequence[str],
    ) -> None:
        super().__init__(inputs, heads, acting_heads)
        self._count, features = candidates(self._space)
        features += sum(map(encoded_size, self._others))
        behind = config.head_hidden
        self._each = HiddenLayers("body.each", features, config)
        self._scores = HiddenLayers("body.scores", 3 * self._each.size, config, behind)
        self._pooled = HiddenLayers("body.pooled", 2 * self._each.size, config, behind)
        self._scored: dict[str, Layer] = {}
        self._other_heads: dict[str, Layer] = {}
        for name in self._acting:
            head = heads[name]
            if head.per_action:
                self._scored[name] = Layer.dense(f"body.heads.{name}", self._scores.size, 1)
            elif not head.free:
                self._other_heads[name] = Layer.dense(
                    f"body.heads.{name}", self._pooled.size, head.size
                )

    def _layers(self) -> list[Loadable]:
        found = [*self._each.parts(), *self._scored.values(), *self._other_heads.values()]
        if self._scored:
            found += self._scores.parts()
        if self._other_heads:
            found += self._pooled.parts()
        return found

    def __call__(self, *inputs: np.ndarray, core: np.ndarray | None = None) -> Arrays:
        self._check_loaded()
        x = encode(self._space, inputs[0])
        if self._normalise is not None:
            x = self._normalise(x)
        rows, count = len(x), self._count
        each = self._each(self._rows(x, inputs))
        by_candidate = each.reshape(rows, count, -1)
        pooled = np.concatenate([by_candidate.mean(axis=1), by_candidate.max(axis=1)], axis=1)
        outputs: Arrays = {}
        if self._scored:
            joined = np.concatenate([each, np.repeat(pooled, count, axis=0)], axis=1)
            scores = self._scores(joined)
            for name, layer in self._scored.items():
                outputs[name] = layer(scores).reshape(rows, count)
        if self._other_heads:
            features = self._pooled(pooled)
            for name, layer in self._other_heads.items():
                outputs[name] = layer(features)
        return self._with_free(outputs, rows)

    def _rows(self, x: np.ndarray, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """`[N * K, features]`: the candidates' features, and behind them all other inputs."""
        flat = x.reshape(-1, x.shape[-1])
        if not self._others:
            return flat
        repeated = [inputs[0], *(np.repeat(each, self._count, axis=0) for each in inputs[1:])]
        return self._with_others(flat, repeated)
