"""Questions to pods about their state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rljob.kube import names
from rljob.spec.roles import RoleName
from rljob_operator.decide.decision import Question
from rljob_operator.decide.job_resources import PodState


def questions(pods: Iterable[tuple[RoleName, PodState]]) -> Iterator[Question]:
    """One for each pod that has an address."""
    for role, pod in pods:
        if pod.address is not None:
            yield Question(role, pod.name, names.page(pod.address, "state"))
