"""Batches that the buffer set aside because the learner died of them."""

from __future__ import annotations

from datetime import datetime, timedelta

from rljob.diagnosis import set_aside
from rljob.kube import names
from rljob.kube.manifests.storage import buffer_folder
from rljob.run_folder.names import SET_ASIDE
from rljob.spec import RLJobSpec
from rljob.spec.status import BufferStatus
from rljob_operator.decide import times
from rljob_operator.decide.waiting import Waiting


def recent(
    job: str, spec: RLJobSpec | None, buffer: BufferStatus | None, now: datetime
) -> tuple[Waiting, float] | None:
    """What is told of the buffer, and seconds until it is told no more; None without such batches."""
    if spec is None or buffer is None or buffer.set_aside_time is None:
        return None
    end = times.parse(buffer.set_aside_time) + timedelta(seconds=set_aside.TOLD_SECONDS)
    left = (end - now).total_seconds()
    if left <= 0:
        return None
    where = f"{buffer_folder(spec)}/{SET_ASIDE} in pod {names.workload(job, 'buffer')}-0"
    text = set_aside.words(buffer.set_aside, where)
    return Waiting(set_aside.REASON, text, buffer.set_aside_time), left
