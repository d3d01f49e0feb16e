"""Which children to apply and which to delete."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob_operator.decide.decision import Reference
from rljob_operator.decide.job_resources import JobResources, at, controller, key, uid

_AMOUNTS = ("requests", "limits")
_QUANTITY = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?)(?P<suffix>m|[kMGTPE]|[KMGTPE]i)?")
_FACTORS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", start=1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
}
_KEPT = ("PersistentVolumeClaim",)
"""Kinds that are kept when they are no longer wanted: they may contain results."""


def to_apply(
    world: JobResources,
    wanted: Sequence[Manifest],
    settled: Mapping[tuple[str, str], tuple[str, int]],
) -> tuple[Manifest, ...]:
    """The wanted children that are missing or differ.

    A learner's Job that must be replaced is not included, nor is its successor while a pod of it
    still runs: two learners never write to one storage.
    """
    return tuple(m for m in wanted if _applicable(world, m) and _differs(world, m, settled))


def to_delete(world: JobResources, wanted: Sequence[Manifest]) -> tuple[Reference, ...]:
    """Children that are no longer wanted, and a Job that must be replaced."""
    keys = {key(manifest) for manifest in wanted}
    gone = [
        reference(child)
        for child in world.children.values()
        if key(child) not in keys
        and child["kind"] not in _KEPT
        and controller(child) == uid(world.job)
    ]
    replaced = [
        reference(world.children[key(manifest)], replacement=manifest)
        for manifest in wanted
        if _replaced(world, manifest)
    ]
    return (*gone, *replaced)


def reference(child: Manifest, replacement: Manifest | None = None) -> Reference:
    """A reference to delete exactly this object."""
    return Reference(
        api_version=child["apiVersion"],
        kind=child["kind"],
        name=child["metadata"]["name"],
        uid=uid(child),
        replacement=replacement,
    )


def covers(there: Any, ours: Any, *, quantity: bool = False) -> bool:
    """Whether the existing value has all fields that we set; fields added by others are ignored.

    Each dictionary of our list must be covered by one of the existing list, in any order; other
    lists must be equal. The API server may drop empty values.

    Args:
        quantity: whether the values are resource quantities, for which `1000m` equals `1`.
    """
    if isinstance(ours, dict):
        if not isinstance(there, dict):
            return False
        return all(
            covers(there[name], value, quantity=quantity or name in _AMOUNTS)
            if name in there
            else value in ({}, [], None)
            for name, value in ours.items()
        )
    if isinstance(ours, list) and any(isinstance(item, dict) for item in ours):
        return isinstance(there, list) and all(
            any(covers(candidate, item) for candidate in there) for item in ours
        )
    return bool(there == ours) or (quantity and _amount(there) == _amount(ours))


def _amount(text: Any) -> Decimal | str:
    """A Kubernetes quantity as a number; other text unchanged."""
    found = _QUANTITY.fullmatch(str(text))
    if found is None:
        return str(text)
    return Decimal(found["number"]) * _FACTORS[found["suffix"] or ""]


def _applicable(world: JobResources, manifest: Manifest) -> bool:
    if key(manifest) in world.taken or _replaced(world, manifest):
        return False
    starts_learner = manifest["kind"] == "Job" and key(manifest) not in world.children
    return not (starts_learner and world.learners_left)


def _replaced(world: JobResources, manifest: Manifest) -> bool:
    """Whether it is a Job that differs in immutable fields."""
    there = world.children.get(key(manifest))
    if there is None or manifest["kind"] != "Job":
        return False
    return _annotation(there, names.SPEC_HASH_ANNOTATION) != _annotation(
        manifest, names.SPEC_HASH_ANNOTATION
    )


def _differs(
    world: JobResources, manifest: Manifest, settled: Mapping[tuple[str, str], tuple[str, int]]
) -> bool:
    there = world.children.get(key(manifest))
    if there is None:
        return True
    digest = _annotation(manifest, names.HASH_ANNOTATION)
    if _annotation(there, names.HASH_ANNOTATION) != digest:
        return True
    rest = {name: value for name, value in manifest.items() if name != "spec"}
    if not covers(there, rest):
        return True
    # The generation counts changes of spec only, so it covers only differences in spec.
    as_kept = settled.get(key(manifest)) == (digest, at(there, "metadata", "generation"))
    return not as_kept and not covers(there.get("spec"), manifest.get("spec"))


def _annotation(manifest: Manifest, name: str) -> str | None:
    found: str | None = at(manifest, "metadata", "annotations", name)
    return found
