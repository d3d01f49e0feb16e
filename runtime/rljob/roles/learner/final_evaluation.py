"""The learner's last act on a cluster: it has the final policy played, and reports what that gave."""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rljob.process import final_evaluation
from rljob.process.context import RoleContext
from rljob.run_folder import json_files
from rljob.run_folder.names import RESULT
from rljob.spec.status import EndReport, EvaluationStatus
from rljob.telemetry.health import Health

MOST_SECONDS = 1200.0
"""Seconds after which an evaluation that does not end is given up; playing alone may take half of them."""
WAIT = 0.1
_LOG = logging.getLogger("rljob")


def evaluated(context: RoleContext, health: Health, end: EndReport) -> EndReport:
    """Play the final policy, if the job has an evaluation and training completed; how the job ends then.

    Puts the numbers into `context.report` and `result.json`. When the process is asked to stop meanwhile, training is
    to be resumed: that evaluates again.
    """
    spec = context.job.spec
    if end.outcome != "Complete" or spec.evaluation is None:
        return end
    _report(context, evaluating=True)
    played = _play(context, health)
    if context.stopping():
        message = "asked to stop during the final evaluation"
        return EndReport(outcome="Interrupted", reason="Interrupted", message=message)
    status = None if played is None else EvaluationStatus.model_validate(played)
    _report(context, evaluating=None, **({} if status is None else {"evaluation": status}))
    missed = final_evaluation.shortfall(spec, played)
    result = json_files.read(context.folder / RESULT) or {}
    result["evaluation"] = None if played is None else final_evaluation.kept(played)
    if missed is not None:
        result |= {"outcome": "Failed", "reason": missed.reason, "message": missed.message}
        end = EndReport(outcome="Failed", reason=missed.reason, message=missed.message)
    try:
        json_files.write(context.folder / RESULT, result)
    except OSError as error:
        _LOG.warning("%s cannot be written: %s", RESULT, error.strerror)
    return end


def _report(context: RoleContext, **changes: Any) -> None:
    if context.report is not None:
        context.report = context.report.model_copy(update=changes)


def _play(context: RoleContext, health: Health) -> dict[str, Any] | None:
    """The numbers that `rljob eval` writes; None when it failed, or this process was asked to stop."""
    health.doing = "evaluation"
    with tempfile.TemporaryDirectory(prefix="rljob-evaluation-") as scratch:
        result, log = Path(scratch) / "result.json", Path(scratch) / "log"
        words = final_evaluation.command(context.job.spec, context.folder, result)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "rljob", *words], stdout=output, stderr=output
            )
            until = time.monotonic() + MOST_SECONDS
            try:
                while process.poll() is None and not context.stopping():
                    health.beat()
                    if time.monotonic() > until:
                        _LOG.warning("the final evaluation did not end in %.0f s", MOST_SECONDS)
                        break
                    time.sleep(WAIT)
            finally:
                process.kill()
                process.wait()
        played = json_files.read(result)
        if played is None and not context.stopping():
            told = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            _LOG.warning(
                "the final policy was not evaluated: %s", told[-1] if told else "no output"
            )
        return played
