"""What a job tells an application of itself: the payload of DESCRIPTION (docs/design/protocol.md, DESCRIBE)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from rljob.envs.spaces import Spaces
from rljob.errors import InputError
from rljob.spec.schema import Section
from rljob.spec.sections import AlgorithmSpec, EnvironmentSpec, NamedNetworkSpec, NetworkSpec
from rljob.wire.endpoints import host_of, weights_endpoint
from rljob.wire.experience import ExperienceFormat
from rljob.wire.messages import Rejected

MOST_SECONDS = 366 * 24 * 3600.0
"""Longest limit that a client accepts."""
_PRECISIONS = ("float32", "bfloat16")
_ANY_HOST = ("*", "0.0.0.0", "::")


@dataclass(frozen=True)
class ApplicationLimits:
    """Seconds that an application keeps back experience, and that it waits for a reward."""

    flush_after: float
    reward_timeout: float

    @classmethod
    def from_json(cls, value: Any) -> ApplicationLimits:
        """Raises Rejected for other than two numbers above 0."""
        if not isinstance(value, dict):
            raise Rejected("json", "applications must be an object")
        return cls(_seconds(value, "flushAfter"), _seconds(value, "rewardTimeout"))

    def to_json(self) -> dict[str, float]:
        return {"flushAfter": self.flush_after, "rewardTimeout": self.reward_timeout}


@dataclass(frozen=True)
class JobDescription:
    """What a client needs to act for a job, and to send it experience.

    Attributes:
        job: number in the header of every message.
        name: of the job, for people.
        spaces: as the algorithm sees them; None before the job knows them.
        environment: the spaces of applications, and how they are converted; None where the job does not state them.
        algorithm, network, networks, precision: what acting is computed with.
        weights: address of the policy versions, as the buffer's process has it.
        plan: what HELLO has to say; None before the job knows it, which it learns from the first HELLO.
        discount: of the discounted returns in records of episodes; None where the algorithm decides.
        limits: None where the job takes no experience from applications.
    """

    job: int
    name: str
    spaces: Spaces | None
    environment: EnvironmentSpec | None
    algorithm: AlgorithmSpec
    network: NetworkSpec
    networks: dict[str, NamedNetworkSpec] | None
    precision: str
    weights: str
    plan: ExperienceFormat | None
    discount: float | None
    limits: ApplicationLimits | None

    def weights_from(self, address: str) -> str:
        """Where the weights are for a client that reached the buffer at `address`: on another machine, a loopback address
        of the job stands for the host of that address."""
        host, there = host_of(self.weights), host_of(address)
        local = host in ("localhost", *_ANY_HOST) or host.startswith("127.") or host == "::1"
        if not local or not there:
            return self.weights
        shown = f"[{there}]" if ":" in there else there
        return f"tcp://{shown}:{self.weights.rsplit(':', 1)[1]}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; what is not known is left out."""
        networks = None
        if self.networks is not None:
            networks = {name: _plain(each) for name, each in self.networks.items()}
        found: dict[str, Any] = {
            "job": f"{self.job:016x}",
            "name": self.name,
            "spaces": None if self.spaces is None else self.spaces.to_json(),
            "environment": self.environment and _told(_plain(self.environment)),
            "algorithm": _plain(self.algorithm),
            "network": _plain(self.network),
            "networks": networks,
            "precision": self.precision,
            "weights": self.weights,
            "plan": None if self.plan is None else self.plan.to_json(),
            "discount": self.discount,
            "applications": None if self.limits is None else self.limits.to_json(),
        }
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> JobDescription:
        """Raises Rejected for anything that `to_json` would not have made."""
        try:
            job, name, weights = int(value["job"], 16), value["name"], value["weights"]
            precision = value["precision"]
            algorithm = AlgorithmSpec.model_validate(value["algorithm"])
            network = NetworkSpec.model_validate(value["network"])
            spaces = Spaces.from_json(value["spaces"]) if "spaces" in value else None
            environment = None
            if "environment" in value:
                environment = EnvironmentSpec.model_validate(_told(value["environment"]))
            named = value.get("networks")
            if named is not None:
                each = named.items()
                named = {key: NamedNetworkSpec.model_validate(network) for key, network in each}
            texts = isinstance(name, str) and len(value["job"]) == 16 and 0 <= job < 2**64
            if not texts or precision not in _PRECISIONS:
                raise ValueError("job, name or precision is not as specified")
            weights_endpoint(weights)
            discount = value.get("discount")
            if discount is not None and not (
                isinstance(discount, int | float) and 0 <= discount <= 1
            ):
                raise ValueError("discount is no number from 0 to 1")
        except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
            raise Rejected("json", _first_line(error)) from error
        plan = ExperienceFormat.from_json(value["plan"]) if "plan" in value else None
        limits = None
        if "applications" in value:
            limits = ApplicationLimits.from_json(value["applications"])
        sections = environment, algorithm, network, named
        return cls(job, name, spaces, *sections, precision, weights, plan, discount, limits)


def _seconds(limits: dict[str, Any], name: str) -> float:
    found = limits.get(name)
    if not isinstance(found, int | float) or not 0 < found <= MOST_SECONDS:
        raise Rejected("json", f"applications.{name} is {str(found)[:80]}")
    return float(found)


def _told(environment: Mapping[str, Any]) -> dict[str, Any]:
    """What applications need of the section."""
    return {
        name: environment[name]
        for name in ("spaces", "convert", "masks", "info")
        if name in environment
    }


def _plain(section: Section) -> dict[str, Any]:
    found: dict[str, Any] = section.model_dump(mode="json", by_alias=True, exclude_none=True)
    return found


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"[:200]
    return f"not a description: {error!r}"[:200]
