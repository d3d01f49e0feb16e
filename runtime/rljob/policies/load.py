"""Finds a policy by a path or by the name of a job, and loads it.

Of a built-in algorithm with built-in networks, this imports neither torch nor Gymnasium nor the models of jobs.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rljob.algorithms.acting_form import FORMAT, acting_networks, actor_maker
from rljob.checkpoints import manifest, policy
from rljob.checkpoints.manifest import MANIFEST, POLICY, Checkpoint
from rljob.envs.spaces import Arrays, Spaces
from rljob.errors import InputError, RunError
from rljob.policies.loaded import TrainedPolicy
from rljob.run_folder import json_files, modules
from rljob.run_folder.names import JOB

if TYPE_CHECKING:
    from rljob.client.job import ClusterJob
    from rljob.client.jobs import Jobs
    from rljob.spec import RLJob

_JOB_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
EXPORTED = ".safetensors"
_LOG = logging.getLogger("rljob")


class ScratchFolder:
    """A new folder that is removed when this is collected, or the process ends."""

    def __init__(self) -> None:
        import shutil
        import tempfile
        import weakref

        self.path = Path(tempfile.mkdtemp(prefix="rljob-policy-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def load_policy(
    where: str | Path,
    *,
    namespace: str | None = None,
    context: str | None = None,
    seed: int | None = None,
) -> TrainedPolicy:
    """Load the newest whole policy, every byte compared with its checksum.

    Args:
        where: a run's folder, its folder of checkpoints, one checkpoint, a folder from `rljob get-policy`, an archive of
            one of these, a file of `rljob export --format safetensors`, or the name of a job on the cluster.
        namespace: of the job on the cluster; by default the context's.
        context: of the kubeconfig; by default the current one.
        seed: of actions that are drawn; None takes fresh entropy.

    Raises:
        InputError: there is no policy, or no job of this name.
        RunError: the policy is damaged, or does not fit its job.
    """
    return find_policy(where, _LOG.warning, namespace, context, seed)


def find_policy(
    where: str | Path,
    on_damaged: Callable[[str], None],
    namespace: str | None = None,
    context: str | None = None,
    seed: int | None = None,
) -> TrainedPolicy:
    """As `load_policy`.

    Args:
        on_damaged: told of each checkpoint that is passed over.
    """
    path = Path(where)
    if path.is_dir():
        return load_folder(path, seed, on_damaged=on_damaged)
    if path.is_file():
        if path.name == POLICY and (path.parent / MANIFEST).is_file():
            return load_folder(path.parent, seed, on_damaged=on_damaged)
        if path.suffix == EXPORTED:
            return load_file(path, seed)
        return _load_archive(path, seed)
    if not (isinstance(where, str) and _JOB_NAME.fullmatch(where)):
        raise InputError(f"{where}: no such file or folder, and not the name of a job")
    return _fetch(where, namespace, context, seed)


def load_folder(
    path: Path,
    seed: int | None = None,
    keep: object = None,
    on_damaged: Callable[[str], None] = _LOG.warning,
) -> TrainedPolicy:
    """As `load_policy`, of a folder.

    Args:
        keep: has to live as long as the policy.
        on_damaged: told of each checkpoint that is passed over.
    """
    checkpoint = manifest.find(path, on_damaged)
    values = manifest.read_values(checkpoint)
    arrays = policy.decode(manifest.read_file(checkpoint, POLICY))
    form, spaces = values.get("acting"), values.get("spaces")
    if isinstance(form, dict) and form.get("format") == FORMAT and spaces is not None:
        try:
            return _of_form(
                (checkpoint.lineage, checkpoint.version),
                checkpoint.path,
                form,
                Spaces.from_json(spaces),
                arrays,
                seed,
                keep,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # It has passed its checksum, so another rljob has written it.
            raise RunError(
                f"the checkpoint {checkpoint.path} says how to act in a form that this rljob does not know "
                f"({error!r}); use the rljob that wrote it"
            ) from error
    return _of_job(path, checkpoint, spaces, arrays, seed, keep)


def load_file(path: Path, seed: int | None = None) -> TrainedPolicy:
    """A policy that was exported as safetensors, with the JSON file beside it.

    Raises:
        InputError: the JSON file is missing, or not of a policy.
        RunError: the file of weights is damaged, or does not fit it.
    """
    beside = path.with_suffix(".json")
    described = json_files.read(beside)
    if described is None or not {"acting", "spaces", "policyVersion"} <= described.keys():
        raise InputError(f"{path}: {beside.name} beside it is missing or describes no policy")
    try:
        arrays = policy.decode(path.read_bytes())
        spaces = Spaces.from_json(described["spaces"])
        return _of_form(
            (0, int(described["policyVersion"])),
            path,
            described["acting"],
            spaces,
            arrays,
            seed,
            None,
        )
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{beside} describes no policy that this rljob knows: {error!r}"
        ) from error


def _of_form(
    stamp: tuple[int, int],
    path: Path,
    form: dict[str, Any],
    spaces: Spaces,
    arrays: Arrays,
    seed: int | None,
    keep: object,
) -> TrainedPolicy:
    networks = acting_networks(form, spaces)
    networks.load(arrays)
    return TrainedPolicy(
        version=stamp[1],
        lineage=stamp[0],
        path=path,
        spaces=spaces,
        convert=form.get("convert"),
        networks=networks,
        make_actor=actor_maker(form, spaces),
        form=form,
        seed=seed,
        keep=keep,
    )


def _of_job(
    path: Path,
    checkpoint: Checkpoint,
    described: dict[str, Any] | None,
    arrays: Arrays,
    seed: int | None,
    keep: object,
) -> TrainedPolicy:
    """By the job's own code: an algorithm or a network by import path, or a checkpoint without a form."""
    from rljob import spec
    from rljob.algorithms.answers import make_actor
    from rljob.algorithms.registry import make_algorithm
    from rljob.nets.building import build_acting

    file = modules.job_file(path)
    if file is None:
        raise InputError(
            f"no {JOB} in {path} or above it, which this policy needs to act: it names its algorithm and network. "
            "Give the run's folder"
        )
    # Once, however often it is loaded.
    sys.path[:0] = [each for each in modules.search_path(file.parent) if each not in sys.path]
    job = spec.load(file)
    spaces = _spaces(job, described)
    algorithm = make_algorithm(job.spec.algorithm, spaces)
    networks = build_acting(job.spec.network, algorithm.networks, spaces, named=job.spec.networks)
    networks.load({name: np.array(array) for name, array in arrays.items()})
    convert = job.spec.environment.convert
    return TrainedPolicy(
        version=checkpoint.version,
        lineage=checkpoint.lineage,
        path=checkpoint.path,
        spaces=spaces,
        convert=None if convert is None else convert.model_dump(),
        networks=networks,
        make_actor=lambda policy, place: make_actor(algorithm, policy, place),
        form=None,
        seed=seed,
        keep=keep,
        job=job,
        algorithm=algorithm,
    )


def _spaces(job: RLJob, described: dict[str, Any] | None) -> Spaces:
    """Of the checkpoint; of the job's environment where that does not tell all."""
    if described is not None:
        spaces = Spaces.from_json(described)
        if job.spec.environment.convert is None or spaces.unconverted is not None:
            return spaces
    from rljob.envs.vector import Environments

    environments = Environments(job.spec.environment, 1)
    try:
        return environments.spaces
    finally:
        environments.close()


def _load_archive(path: Path, seed: int | None) -> TrainedPolicy:
    """A tar archive as a learner serves it."""
    import tarfile

    from rljob.checkpoints.unpack import unpack

    try:
        if not tarfile.is_tarfile(path):
            raise InputError(
                f"{path} is not a policy; give a run's folder, one of its checkpoints, or their archive"
            )
        folder = ScratchFolder()
        with path.open("rb") as file:
            unpack(iter(lambda: file.read(1 << 20), b""), folder.path)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    return load_folder(folder.path, seed, folder)


def _fetch(
    name: str, namespace: str | None, context: str | None, seed: int | None
) -> TrainedPolicy:
    """Of a job on the cluster."""
    try:
        from rljob.client.access import Choice
        from rljob.client.jobs import connect
    except ModuleNotFoundError as error:
        raise InputError(
            f'{name}: no such file or folder; a job on a cluster needs {error.name}: pip install "rljob[client]"'
        ) from error
    jobs = connect(Choice(None, context, namespace))
    return load_job(jobs, jobs.get(name), seed)


def load_job(jobs: Jobs, job: ClusterJob, seed: int | None = None) -> TrainedPolicy:
    """As `load_policy`, of a job on a cluster."""
    from rljob.client.policy import fetch

    folder = ScratchFolder()
    out = folder.path / job.name
    fetch(jobs, job, out, _LOG.info)
    return load_folder(out, seed, folder)
