"""Names of the files and folders in the folder of a run. No other module defines them."""

from __future__ import annotations

JOB = "job.yaml"
METRICS = "metrics.jsonl"
EVALUATIONS = "evaluations.jsonl"
EVENTS = "events.jsonl"
RESULT = "result.json"
PROVENANCE = "provenance.json"
TARGETS = "targets.json"
CHECKPOINTS = "checkpoints"
LATEST = "latest"
"""Link in `checkpoints` to the newest checkpoint."""
LOGS = "logs"
BUFFER = "buffer"
SET_ASIDE = "set-aside"
"""Folder of the batches that the learner died of."""
CODE = "code"
MODULES = "modules.json"
RECORDS = (JOB, METRICS, EVALUATIONS, EVENTS, RESULT, PROVENANCE)
"""Files that a report reads."""
