"""Names of the files and folders in the folder of a run. No other module spells them."""

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
"""A link in `checkpoints` to the newest one."""
LOGS = "logs"
BUFFER = "buffer"
CODE = "code"
RECORDS = (JOB, METRICS, EVALUATIONS, EVENTS, RESULT, PROVENANCE)
"""What a report is made from."""
