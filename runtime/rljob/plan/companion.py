"""A rollout in a process of its own, at work beside what is measured; what it collects goes nowhere."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from rljob import spec as specs
from rljob.plan.collecting import Collecting
from rljob.plan.parts import parts_of
from rljob.spec import RLJob

START_SECONDS = 60.0
"""That its environments have for their first segment."""
END_SECONDS = 5.0
"""That they have to close."""
_LOG = logging.getLogger(__name__)


@contextmanager
def beside(job: RLJob) -> Iterator[None]:
    """Until the end of `with`, a rollout of the job steps its environments.

    Where a second set of them cannot be had, such as of the one robot, there is a warning and no company.
    """
    # Not forked: this process has threads by now, and torch does not survive that.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    # No daemon, for those may not have processes of their own, and environments do.
    process = context.Process(target=_work, args=(specs.dump(job), theirs), name="rljob-company")
    with ours:
        process.start()
        theirs.close()
        try:
            if not _started(ours):
                _LOG.warning("no second rollout could be started; measured without one beside it")
            yield
        finally:
            ours.close()
            process.join(END_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()


def _started(connection: Connection) -> bool:
    """Whether it has collected a segment, or tried in vain."""
    try:
        return connection.poll(START_SECONDS) and connection.recv() is None
    except EOFError:
        return False


def _work(text: str, connection: Connection) -> None:
    """Until the other end is closed, also by its process' death."""
    # What the environments print is printed by those that are measured.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    with parts_of(specs.parse(text), threads=1) as parts:
        collecting = Collecting(parts)
        connection.send(None)
        while not connection.poll():
            collecting.collect()
