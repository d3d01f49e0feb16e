"""The status of an RLJob, one part per file. Inputs: the observed state and the previous status."""

from __future__ import annotations
