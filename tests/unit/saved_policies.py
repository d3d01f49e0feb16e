"""Runs' folders with a policy of any algorithm and spaces, without training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rljob import spec
from rljob.algorithms import make_algorithm
from rljob.algorithms.acting_form import acting_form
from rljob.algorithms.acting_group import ActingGroup
from rljob.algorithms.base import Place, Progress
from rljob.algorithms.learned_networks import learned_networks
from rljob.algorithms.publishing import policy_arrays
from rljob.checkpoints import checkpoint
from rljob.envs.spaces import Arrays, Spaces
from rljob.nets import build_acting
from rljob.spec import RLJob

VERSION = 7


def save_run(
    folder: Path,
    spaces: Spaces,
    algorithm: Mapping[str, Any],
    environment: Mapping[str, Any] | None = None,
    version: int = VERSION,
    lineage: int = 1,
    **fields: Any,
) -> RLJob:
    """Write the folder of a run whose policy has random weights, and a normalisation that changes observations."""
    made = spec.parse(
        {
            "metadata": {"name": "made"},
            "spec": {
                "environment": environment or {"id": "CartPole-v1"},
                "algorithm": algorithm,
                "stop": {"steps": 1000},
                **fields,
            },
        }
    )
    found = make_algorithm(made.spec.algorithm, spaces)
    networks = learned_networks(made.spec, found, spaces, seed=version)
    learner = found.learner(networks, seed=version)
    arrays = policy_arrays(found, networks, learner, Progress(0, 0.0), copy=True)
    randomise(arrays, np.random.default_rng(version))
    values = {"spaces": spaces.to_json(), "acting": acting_form(made.spec, found, spaces)}
    folder.mkdir(exist_ok=True)
    (folder / "job.yaml").write_text(spec.dump(made))
    snapshot = checkpoint.Snapshot(version, lineage, arrays, {"x": np.zeros(1)}, values)
    checkpoint.save(folder / "checkpoints", snapshot, keep=3)
    return made


def randomise(arrays: Arrays, rng: np.random.Generator) -> None:
    """Change all numbers that have a dimension, in place."""
    for name, array in arrays.items():
        if name.endswith("encoder.limit"):
            array[...] = 1.5
        elif name.endswith("encoder.std"):
            array[...] = rng.uniform(0.5, 2.0, array.shape)
        elif array.ndim and not name.endswith("_scale"):
            array[...] = array + 0.3 * rng.standard_normal(array.shape)


def acts_as(
    folder: Path, job: RLJob, spaces: Spaces, stored: np.ndarray, **seen: Any
) -> np.ndarray:
    """What the algorithm itself does in an evaluation: stored actions."""
    found = make_algorithm(job.spec.algorithm, spaces)
    networks = build_acting(job.spec.network, found.networks, spaces, named=job.spec.networks)
    networks.load(checkpoint.load_policy(folder).tensors)
    rows = len(stored)
    place = Place(rows, np.random.default_rng(0), total=rows, greedy=True)
    group = ActingGroup(found, networks, place)
    return group.act(stored, np.ones(rows, np.bool_), seen.get("mask")).action
