"""Preparations before the start: reads and checks the job, makes the run's folder and addresses."""

from __future__ import annotations
