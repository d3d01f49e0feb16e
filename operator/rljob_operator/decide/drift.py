"""Which children have to be applied, and which have to go."""

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
"""Kinds that are never deleted for being wanted no more: there may be results in them."""


def to_apply(
    world: JobResources,
    wanted: Sequence[Manifest],
    settled: Mapping[tuple[str, str], tuple[str, int]],
) -> tuple[Manifest, ...]:
    """Those of the wanted children that are not there as they should be.

    A learner's Job that has to be replaced is not among them, nor is its successor before every
    pod of it is over: two learners never write to one storage.
    """
    return tuple(m for m in wanted if _applicable(world, m) and _differs(world, m, settled))


def to_delete(world: JobResources, wanted: Sequence[Manifest]) -> tuple[Reference, ...]:
    """Children that are wanted no more, and a Job of which another one is wanted."""
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
    """What the API server needs to know to delete this very object."""
    return Reference(
        api_version=child["apiVersion"],
        kind=child["kind"],
        name=child["metadata"]["name"],
        uid=uid(child),
        replacement=replacement,
    )


def covers(there: Any, ours: Any, *, quantity: bool = False) -> bool:
    """Whether what is there has all that we set; what others and the API server added is theirs.

    Each dictionary of a list of ours has to be covered by one of the list there, whatever the
    order; other lists are equal or not. The API server may drop what is empty.

    Args:
        quantity: whether these are amounts of a resource, of which `1000m` and `1` are one.
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
    """A Kubernetes quantity as a number; any other text as it is."""
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
    """Whether it is a Job that differs in what cannot be changed in a Job."""
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
    # The generation counts changes of spec only, so it can excuse nothing but how spec is written.
    as_kept = settled.get(key(manifest)) == (digest, at(there, "metadata", "generation"))
    return not as_kept and not covers(there.get("spec"), manifest.get("spec"))


def _annotation(manifest: Manifest, name: str) -> str | None:
    found: str | None = at(manifest, "metadata", "annotations", name)
    return found
