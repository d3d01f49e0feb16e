"""Distributed reinforcement learning from one YAML, on a laptop or on Kubernetes.

    import rljob
    result = rljob.run("job.yaml")

Importing this module imports nothing else: each name below is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rljob.version import __version__

if TYPE_CHECKING:
    from rljob.application.agent import Agent
    from rljob.application.episode import Episode, PendingDecision
    from rljob.errors import InputError, RLJobError, RunError
    from rljob.handles.attach import attach
    from rljob.handles.base import JobHandle
    from rljob.handles.cluster import submit
    from rljob.handles.run import start
    from rljob.handles.status import JobFailed, JobStatus
    from rljob.hooks import StopTraining
    from rljob.local.result import Evaluation, Result, RunFailed, RunProgress
    from rljob.local.run import run
    from rljob.policies.load import load_policy
    from rljob.policies.loaded import PolicyEpisode, TrainedPolicy
    from rljob.roles.evaluator.compare import Comparison, compare
    from rljob.spec import RLJob, load

__all__ = [
    "Agent",
    "Comparison",
    "Episode",
    "Evaluation",
    "InputError",
    "JobFailed",
    "JobHandle",
    "JobStatus",
    "PendingDecision",
    "PolicyEpisode",
    "RLJob",
    "RLJobError",
    "Result",
    "RunError",
    "RunFailed",
    "RunProgress",
    "StopTraining",
    "TrainedPolicy",
    "__version__",
    "attach",
    "compare",
    "load",
    "load_policy",
    "run",
    "start",
    "submit",
]

_MODULES = {
    "Agent": "rljob.application.agent",
    "Episode": "rljob.application.episode",
    "PendingDecision": "rljob.application.episode",
    "Comparison": "rljob.roles.evaluator.compare",
    "Evaluation": "rljob.local.result",
    "InputError": "rljob.errors",
    "JobFailed": "rljob.handles.status",
    "JobHandle": "rljob.handles.base",
    "JobStatus": "rljob.handles.status",
    "TrainedPolicy": "rljob.policies.loaded",
    "PolicyEpisode": "rljob.policies.loaded",
    "RLJob": "rljob.spec",
    "RLJobError": "rljob.errors",
    "Result": "rljob.local.result",
    "RunError": "rljob.errors",
    "RunFailed": "rljob.local.result",
    "RunProgress": "rljob.local.result",
    "StopTraining": "rljob.hooks",
    "attach": "rljob.handles.attach",
    "compare": "rljob.roles.evaluator.compare",
    "load": "rljob.spec",
    "load_policy": "rljob.policies.load",
    "run": "rljob.local.run",
    "start": "rljob.handles.run",
    "submit": "rljob.handles.cluster",
}


def __getattr__(name: str) -> Any:
    # PEP 562: called once per name; the value is then cached in globals().
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from rljob.errors import RunError
    from rljob.system import unsupported

    if (reason := unsupported()) is not None:
        raise RunError(reason)
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
