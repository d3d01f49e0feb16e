"""Names of the files and folders in the folder of a run. No other module defines them."""

from __future__ import annotations

JOB = "job.yaml"
METRICS = "metrics.jsonl"
EVALUATIONS = "evaluations.jsonl"
EVENTS = "events.jsonl"
RESULT = "result.json"
PROVENANCE = "provenance.json"
TARGETS = "targets.json"
TOKEN = "token"
"""Of the state pages of the run's roles."""
CHECKPOINTS = "checkpoints"
LATEST = "latest"
"""Link in `checkpoints` to the newest checkpoint."""
LOGS = "logs"
BUFFER = "buffer"
KEYS = "keys"
"""CURVE keys, while the run works and talks over TCP."""
CODE = "code"
MODULES = "modules.json"
RECORDS = (JOB, METRICS, EVALUATIONS, EVENTS, RESULT, PROVENANCE)
"""Files that a report reads."""
