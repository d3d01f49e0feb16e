"""Checks the settings that a job gives its algorithm and network."""

from __future__ import annotations

from rljob import spec
from rljob.algorithms import load_config
from rljob.errors import InputError
from rljob.nets import resolve_network
from rljob.spec import RLJob


def check_settings(job: RLJob) -> None:
    """Look at those of built-in ones; what is named by import path is up to the roles.

    Raises:
        InputError: with the place in the job's file.
    """
    try:
        if job.spec.algorithm.entry_point is None:
            load_config(job.spec.algorithm)
        if job.spec.network.entry_point is None:
            resolve_network(job.spec.network)
    except InputError as error:
        raise spec.locate(job, error) from None
