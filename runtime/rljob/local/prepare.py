"""Preparations before the start: reads and checks the job, makes the run's folder and addresses."""

from __future__ import annotations

import importlib.util
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rljob import spec as specs
from rljob.algorithms.settings import check_settings
from rljob.checkpoints.manifest import checkpoints
from rljob.errors import InputError, RunError
from rljob.roles.evaluator import check as check_evaluation
from rljob.roles.learner.cores import usable_cores
from rljob.roles.learner.progress import WINDOW_EPISODES, reached
from rljob.roles.sinks import check as check_sinks
from rljob.run_folder import json_files
from rljob.run_folder.folder import RunFolder
from rljob.run_folder.names import CHECKPOINTS, CODE, JOB, RESULT
from rljob.run_folder.write_whole import write_whole
from rljob.spec import RLJob
from rljob.spec.code import check_syntax
from rljob.spec.invalid import show
from rljob.spec.sections import AlgorithmSpec, NetworkSpec
