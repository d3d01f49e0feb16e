"""Keeps the newest videos of a run: `videos/VERSION.mp4`, one for each evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from av.error import FFmpegError

from rljob.envs.spaces import Arrays
from rljob.roles.evaluator.recording import EpisodeRecorder
from rljob.run_folder.ageing import older
from rljob.spec import RLJob

FOLDER = "videos"
KEPT = 20
_LOG = logging.getLogger("rljob")


class Videos:
    """Records an episode after each evaluation, always with the same seed.

    Args:
        folder: the run's folder.

    Raises:
        InputError: the environment cannot be recorded.
    """

    def __init__(self, job: RLJob, folder: Path) -> None:
        self._recorder = EpisodeRecorder(job)
        self._folder = folder / FOLDER

    def add(self, version: int, policy: Arrays, seed: int, stopping: Callable[[], bool]) -> None:
        """Record a policy version; a file that cannot be written is logged as a warning.

        Raises:
            Interrupted: `stopping` returned True.
        """
        path = self._folder / f"{version:012d}.mp4"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._recorder.record(policy, path, seed % 2**32, stopping)
            for old in older(self._folder, path, KEPT):
                old.unlink(missing_ok=True)
        except (OSError, FFmpegError) as error:
            _LOG.warning("no video of policy version %d: %s", version, error)

    def close(self) -> None:
        self._recorder.close()
