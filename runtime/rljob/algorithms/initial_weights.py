"""`initFrom`: the weights that a learner starts with, read from another run's checkpoint.

The other run's learner is made again from its `job.yaml` and its checkpoint, so that networks which only the
learner has, such as a critic, are found wherever an algorithm keeps them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rljob import spec as specs
from rljob.algorithms import make_algorithm
from rljob.algorithms.answers import make_learner
from rljob.algorithms.base import Algorithm
from rljob.algorithms.saved_state import LearnerState
from rljob.algorithms.settings import check_initial
from rljob.checkpoints import checkpoint
from rljob.checkpoints.manifest import Checkpoint, find
from rljob.checkpoints.stored import fetch, is_stored
from rljob.envs.spaces import Spaces, different, told_apart
from rljob.errors import InputError, RunError
from rljob.nets import build_networks
from rljob.nets.choice import ChosenNetwork, choose, which_networks
from rljob.nets.configs import NetworkConfig
from rljob.run_folder import modules
from rljob.spec.invalid import show

if TYPE_CHECKING:
    from torch import nn

    from rljob.spec import RLJobSpec

RUN = "initFrom.run"
_LOG = logging.getLogger("rljob")


def check_source(run: str) -> tuple[Checkpoint, Path]:
    """The checkpoint that a folder in `initFrom.run` means, and the `job.yaml` of its run; reads no weights.

    Raises:
        InputError: with path `initFrom.run`, when there is none.
    """
    path = Path(run)
    if not path.is_dir():
        raise InputError(f"{run} is not a folder; give that of a run or of a checkpoint", path=RUN)
    try:
        found = find(path, _LOG.warning)
    except (InputError, RunError) as error:
        raise InputError(str(error), path=RUN) from error
    job = modules.job_file(path)
    if job is None:
        message = f"no job.yaml in {run} or above it; a checkpoint alone does not name its networks"
        raise InputError(message, path=RUN)
    return found, job


def load_initial(
    spec: RLJobSpec, algorithm: Algorithm, spaces: Spaces, networks: Mapping[str, nn.Module]
) -> None:
    """Give the networks the weights that `initFrom` names; without it they stay as they are.

    Args:
        networks: of the learner that is about to be made, by name.

    Raises:
        InputError: with a path below `initFrom`, when there is no checkpoint, or its spaces or networks differ.
    """
    wanted = spec.init_from
    if wanted is None:
        return
    check_initial(wanted.networks, algorithm.networks)
    tracking = spec.sinks.mlflow.tracking_uri if spec.sinks.mlflow is not None else None
    with _folder_of(wanted.run, tracking) as folder:
        found, job = check_source(folder)
        theirs = _Source(found, job)
        theirs.check_spaces(spaces)
        chosen = choose(spec.network, algorithm.networks, spec.networks)
        for name in wanted.networks or algorithm.networks:
            theirs.copy(name, chosen[name], networks[name])
    told = wanted.run if is_stored(wanted.run) else found.path
    _LOG.info("the weights of %s are those of %s", ", ".join(wanted.networks or networks), told)


@contextmanager
def _folder_of(run: str, tracking: str | None) -> Iterator[str]:
    """The folder that `initFrom.run` means; what a sink stored is fetched into one for as long as it is needed.

    Raises:
        InputError: with path `initFrom.run`, when it cannot be fetched.
    """
    if not is_stored(run):
        yield run
        return
    with TemporaryDirectory(prefix="rljob-initial-") as folder:
        try:
            fetch(run, Path(folder), tracking)
            yield folder
        except InputError as error:
            raise InputError(error.message.replace(folder, run), path=error.path or RUN) from error


class _Source:
    """The networks of a checkpoint.

    Raises:
        InputError: with path `initFrom.run`, when they cannot be made again.
    """

    def __init__(self, found: Checkpoint, job: Path) -> None:
        self._path = found.path
        # Behind all others: modules of the job itself come first.
        sys.path += modules.search_path(job.parent)
        try:
            self._spec = specs.load(job).spec
            snapshot = checkpoint.load(found.path)
            self._spaces = Spaces.from_json(snapshot.values["spaces"])
            algorithm = make_algorithm(self._spec.algorithm, self._spaces)
            self._nets = algorithm.networks
            self._networks = build_networks(
                self._spec.network, self._nets, self._spaces, 0, named=self._spec.networks
            )
            learner = make_learner(algorithm, self._networks, 0)
            learner.load_state(LearnerState(snapshot.tensors, snapshot.values["learner"]))
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise InputError(
                f"the networks of {found.path} cannot be read: {text}", path=RUN
            ) from error

    def check_spaces(self, spaces: Spaces) -> None:
        """Raises InputError where the observations or actions differ from these."""
        for name in different(self._spaces, spaces):
            theirs, ours = told_apart(getattr(self._spaces, name), getattr(spaces, name))
            raise InputError(
                f"the {name}s of {self._path} are {theirs}; those of this environment are {ours}",
                path=RUN,
            )

    def copy(self, name: str, chosen: ChosenNetwork, module: nn.Module) -> None:
        """Give a network the weights of the one with its name.

        Raises:
            InputError: there is none, or it is another network.
        """
        if name not in self._networks:
            raise InputError(
                f"{self._path} has no network {name}. {which_networks(self._nets)}; choose among them with "
                "initFrom.networks",
                path=RUN,
            )
        before = choose(self._spec.network, self._nets, self._spec.networks)[name]
        theirs = self._networks[name].state_dict()
        wrong = [
            f"{key} {list(tensor.shape)}"
            for key, tensor in theirs.items()
            if key not in module.state_dict() or module.state_dict()[key].shape != tensor.shape
        ]
        if _form(before) != _form(chosen) or wrong or theirs.keys() != module.state_dict().keys():
            sizes = f", with {wrong[0]}" if wrong else ""
            raise InputError(
                f"the network {name} of {self._path} is {_told(before, chosen)}{sizes}; that of this job is "
                f"{_told(chosen, before)}",
                path=RUN,
            )
        module.load_state_dict(theirs)


def _form(chosen: ChosenNetwork) -> Any:
    """What weights depend on; not how they are drawn."""
    network = chosen.network
    if isinstance(network, NetworkConfig):
        return type(network), network.model_dump(exclude={"init"})
    return network.entry_point, network.config


def _told(chosen: ChosenNetwork, other: ChosenNetwork) -> str:
    """Its name and those settings that `other` does not have."""
    theirs = _settings(other) if chosen.label == other.label else {}
    differ = {key: value for key, value in _settings(chosen).items() if theirs.get(key) != value}
    return f"{chosen.label} {show(differ)}" if differ else chosen.label


def _settings(chosen: ChosenNetwork) -> dict[str, Any]:
    network = chosen.network
    if isinstance(network, NetworkConfig):
        return network.model_dump(mode="json", by_alias=True, exclude={"init"})
    return dict(network.config)
