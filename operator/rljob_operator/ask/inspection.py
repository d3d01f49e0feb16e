"""Requests the state of all pods of a job: `GET /state`, once each, concurrently."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime

import aiohttp

from rljob.diagnosis import probes
from rljob.diagnosis.probes import RoleProbe
from rljob.telemetry.asking import Pages
from rljob_operator.ask.polling import TokenRefused, fetch
from rljob_operator.decide.decision import Question
from rljob_operator.decide.observed import Inspection

TIMEOUT_SECONDS = 3.0
AT_ONCE = 64
_log = logging.getLogger(__name__)


async def inspect(questions: Sequence[Question], token: str, now: datetime) -> Inspection:
    """The answers of the pods. Never fails: a missing answer is part of the result."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    connector = aiohttp.TCPConnector(limit=AT_ONCE, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        asked = await asyncio.gather(*(_ask(session, token, one) for one in questions))
    known = tuple(one for one in asked if one is not None)
    return Inspection(known, now, refused=len(known) < len(asked))


async def _ask(session: aiohttp.ClientSession, token: str, question: Question) -> RoleProbe | None:
    """None if the pod refused the token."""
    try:
        body = await fetch(session, question.url, token)
    except TokenRefused as error:
        _log.warning("a pod tells no state", extra={"pod": question.pod, "reason": str(error)})
        return None
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        body = None
    return probes.read(question.role, question.pod, Pages(state=body))
