"""Origin of a result: images, versions, seed, spec."""

from __future__ import annotations

from rljob.kube import names
from rljob.spec.roles import ROLES
from rljob.spec.status import LearnerReport, Provenance
from rljob_operator.decide.job_resources import JobResources, PodState, at


def provenance(
    previous: Provenance | None, world: JobResources, report: LearnerReport | None
) -> Provenance | None:
    """The known provenance; known values are kept after their pod is gone."""
    before = previous or Provenance()
    images = dict(before.images or {})
    for role in ROLES:
        for pod in world.of_role(role):
            image = _image(pod)
            if image is not None:
                images[role] = image
    job = world.learner_job
    told = at(job, "metadata", "annotations", names.SPEC_HASH_ANNOTATION)
    versions = (report.versions if report else None) or before.versions
    found = Provenance(
        rljob_version=(versions or {}).get("rljob", before.rljob_version),
        seed=report.seed if report and report.seed is not None else before.seed,
        spec_hash=told or before.spec_hash,
        images=images or None,
        versions=versions,
    )
    return None if found == Provenance() else found


def _image(pod: PodState) -> str | None:
    """The image on the node, with its digest."""
    digest = str(pod.main.get("imageID") or "")
    if not digest:
        return None
    # A loaded image, which was not pulled, has a digest without a name.
    return f"{pod.main.get('image')}@{digest}" if digest.startswith("sha256:") else digest
