"""The evaluator plays greedy episodes of the newest policy, during training or after it.

play       episodes and their returns
recording  one episode as a video
overlay    the panel below each picture
film       the video file
loop       the process
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from rljob.errors import InputError

if TYPE_CHECKING:
    from rljob.spec.sections import EvaluationSpec

NEEDED = {"av": "av", "PIL": "pillow"}
"""Modules that videos need, and their packages."""


def check(evaluation: EvaluationSpec) -> None:
    """Raise InputError when an evaluator cannot do this; starts nothing."""
    if evaluation.video:
        check_video("evaluation.video")


def check_video(path: str) -> None:
    """Raise InputError with this path unless the packages for videos are installed."""
    for module, package in NEEDED.items():
        if importlib.util.find_spec(module) is None:
            raise InputError(
                f"needs {package}, which is not installed: pip install 'rljob[video]'", path=path
            )


def check_video_path(path: Path) -> None:
    """Raise InputError unless a video can be written to this file."""
    if path.suffix not in (".mp4", ".gif"):
        raise InputError(f"--video {path}: the file's name must end in .mp4 or .gif")
    if not path.absolute().parent.is_dir():
        raise InputError(f"--video {path}: there is no folder {path.parent}")
