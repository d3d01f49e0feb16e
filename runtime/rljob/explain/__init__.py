"""Why a job is not training, or not faster: one verdict, the evidence for it, and what to change. Pure.

Who asks (a run's folder, a cluster) fills in a `Situation`; `explain` draws the conclusion; `page` shows it.
"""

from __future__ import annotations

from rljob.explain.page import page
from rljob.explain.situation import Process, RoleCount, Situation
from rljob.explain.verdict import Explanation, explain

__all__ = ["Explanation", "Process", "RoleCount", "Situation", "explain", "page"]
