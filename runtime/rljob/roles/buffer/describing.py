"""What the buffer answers an application that asks what the job is."""

from __future__ import annotations

from rljob import algorithms, nets
from rljob.envs.declared import declared_spaces
from rljob.envs.spaces import Spaces
from rljob.process.context import job_number
from rljob.spec import RLJob
from rljob.wire.description import ApplicationLimits, JobDescription
from rljob.wire.experience import ExperienceFormat


class Describer:
    """Describes one job.

    Args:
        job: the job.
        learner: address of the learner.

    Attributes:
        plan: what HELLO has to say, where applications act, the job tells its spaces, and it names nothing of its
            user's code; else None, and the first HELLO decides.

    Raises:
        InputError: the job's algorithm or network cannot use its spaces.
    """

    def __init__(self, job: RLJob, learner: str) -> None:
        spec = job.spec
        self._job, self._learner = job, learner
        declared = declared_spaces(spec.environment)
        self._spaces = None if declared is None else declared.spaces
        self.plan: ExperienceFormat | None = None
        # The buffer runs no code of the user's, and no torch.
        own = (spec.algorithm.entry_point, spec.network.entry_point)
        named = (each.entry_point for each in (spec.networks or {}).values())
        plain = spec.rollout.precision == "float32" and not any((*own, *named))
        if spec.rollout.applications is not None and self._spaces is not None and plain:
            self.plan = _plan(job, self._spaces)

    def __call__(self, plan: ExperienceFormat | None) -> JobDescription:
        """The description.

        Args:
            plan: the one that a HELLO has fixed, if any.
        """
        spec, spaces = self._job.spec, self._spaces
        if spaces is None and plan is not None:
            spaces = Spaces.from_json(plan.spaces)
        asked = spec.rollout.applications
        limits = None
        if asked is not None:
            limits = ApplicationLimits(asked.flush_after.seconds, asked.reward_timeout.seconds)
        return JobDescription(
            job=job_number(self._job),
            name=self._job.metadata.name,
            spaces=spaces,
            environment=None if self._spaces is None else spec.environment,
            algorithm=spec.algorithm,
            network=spec.network,
            networks=spec.networks,
            precision=spec.rollout.precision,
            weights=self._learner,
            plan=plan or self.plan,
            discount=spec.environment.discount,
            limits=limits,
        )


def _plan(job: RLJob, spaces: Spaces) -> ExperienceFormat:
    spec = job.spec
    algorithm = algorithms.make_algorithm(spec.algorithm, spaces)
    networks = nets.build_acting(spec.network, algorithm.networks, spaces, named=spec.networks)
    envs = spec.rollout.envs_per_replica
    info = spec.environment.info or ()
    return ExperienceFormat.of(
        algorithm.data, algorithm.fields, envs, spaces, networks.core_size, info
    )
