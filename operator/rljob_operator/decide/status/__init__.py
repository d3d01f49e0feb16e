"""The status of an RLJob, one part a file. Each takes what is observed and the status before."""

from __future__ import annotations
