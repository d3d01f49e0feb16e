"""Which fields of a job its pods get: all but those marked `OPERATOR_ONLY`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from rljob import spec
from rljob.kube.manifests import build
from rljob.kube.settings import OperatorSettings
from rljob.spec import RLJobSpec, Section, yamltext
from rljob.spec.schema import OPERATOR_ONLY_KEY
from tests.unit import specs

WITHHELD = {
    "rollout.minReplicas", "rollout.maxReplicas",
    "buffer.replicas", "buffer.storage",
    "learner.replicas", "initFrom.persistentVolumeClaim",
    "checkpoint.storage.persistentVolumeClaim", "checkpoint.storage.volumeClaimTemplate",
    "code", "requirements", "image", "stall", "suspend", "managedBy", "backoffLimit", "activeDeadlineSeconds",
    "pendingDeadlineSeconds", "cleanPodPolicy", "ttlSecondsAfterFinished",
}  # fmt: skip
"""Pods do not need these, nor any template. A field that is marked by mistake would leave them on its default in silence."""


def fields(model: type[Section], path: str = "") -> Iterator[tuple[str, bool]]:
    """Path of each field of a section and of those below it, and whether it is marked."""
    for field in model.model_fields.values():
        name = f"{path}{field.alias}"
        extra = field.json_schema_extra
        marked = isinstance(extra, dict) and OPERATOR_ONLY_KEY in extra
        yield name, marked
        if not marked:
            for part in (field.annotation, *get_args(field.annotation)):
                if isinstance(part, type) and issubclass(part, Section):
                    yield from fields(part, f"{name}.")


def paths(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, below in value.items():
            yield f"{path}{name}"
            yield from paths(below, f"{path}{name}.")


def told(job: specs.Job) -> set[str]:
    """Paths of all that the pods of a job get below `spec`."""
    children = build(spec.parse(job), None, OperatorSettings()).shared
    config = next(child for child in children if "job.yaml" in child.get("data", {}))
    return set(paths(yamltext.load(config["data"]["job.yaml"])[0]["spec"]))


def test_every_field_is_told_to_pods_or_marked() -> None:
    known = dict(fields(RLJobSpec))
    seen = set.union(*(told(job) for job in specs.GOOD.values()))
    marked = {path for path, is_marked in known.items() if is_marked}
    assert known.keys() - marked - seen == set(), "give the field a value in a job of specs.GOOD"
    assert marked & seen == set()


def test_what_pods_do_not_get() -> None:
    marked = {path for path, is_marked in fields(RLJobSpec) if is_marked}
    templates = {path for path, _ in fields(RLJobSpec) if path.endswith(".template")}
    assert marked == WITHHELD | templates
