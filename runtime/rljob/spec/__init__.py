"""The RLJob as typed models: what a YAML file, the command line and a Kubernetes API server accept.

camelCase in YAML, snake_case in Python, unknown fields refused, nothing changes after validation.
The descriptions below are also those of the CRD, which is generated from these models.
"""

from __future__ import annotations

from rljob.spec.duration import Duration
from rljob.spec.file import JobSource
from rljob.spec.job import JobLike, RLJob, RLJobSpec, dump, load, locate, parse, read
from rljob.spec.schema import Section
from rljob.spec.sections import (
    ActionConversionSpec,
    AlgorithmSpec,
    BufferSpec,
    CheckpointSpec,
    ConversionSpec,
    EnvironmentSpec,
    EvaluationSpec,
    LearnerSpec,
    Metadata,
    NamedNetworkSpec,
    NetworkSpec,
    ObservationConversionSpec,
    PersistentVolumeClaim,
    RolloutSpec,
    StopSpec,
    StorageSpec,
    VolumeClaimTemplate,
)

__all__ = [
    "ActionConversionSpec",
    "AlgorithmSpec",
    "BufferSpec",
    "CheckpointSpec",
    "ConversionSpec",
    "Duration",
    "EnvironmentSpec",
    "EvaluationSpec",
    "JobLike",
    "JobSource",
    "LearnerSpec",
    "Metadata",
    "NamedNetworkSpec",
    "NetworkSpec",
    "ObservationConversionSpec",
    "PersistentVolumeClaim",
    "RLJob",
    "RLJobSpec",
    "RolloutSpec",
    "Section",
    "StopSpec",
    "StorageSpec",
    "VolumeClaimTemplate",
    "dump",
    "load",
    "locate",
    "parse",
    "read",
]
