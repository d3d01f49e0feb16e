"""Why a job is not training, or not faster: one verdict, the evidence for it, and what to change.

Who asks (a run's folder, a cluster) fills in a `Situation`, with what `asking` got from its processes;
`explain` draws the conclusion, `page` shows it, and both are pure.
"""

from __future__ import annotations

from rljob.explain.page import page
from rljob.explain.situation import Process, RoleCount, Situation
from rljob.explain.verdict import Explanation, explain

__all__ = ["Explanation", "Process", "RoleCount", "Situation", "explain", "page"]
