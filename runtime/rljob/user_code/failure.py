"""What user code raised, in words and with the place in the user's own files.

Every call of user code (import, construction, reset, step, render, close, networks, algorithms) catches
BaseException and hands it to `rethrow`: `sys.exit` in an environment is a failure of that environment, and not the
end of a role.
"""

from __future__ import annotations

import importlib
import os
import signal
import sysconfig
import traceback
from pathlib import Path
from typing import NoReturn

from rljob.errors import AskedToEnd, RLJobError, UserCodeError

_MAX_LINE = 500
_OURS = f"{Path(__file__).parents[1]}{os.sep}"
_IMPORTS = f"{Path(importlib.__file__).parent}{os.sep}"
_INSTALLED = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib"))

# What to install for a module whose package has another name, or that an extra brings.
_PACKAGES = {
    "Box2D": "gymnasium[box2d]",
    "ale_py": "rljob[atari]",
    "jax": "gymnasium[jax]",
    "mujoco": "gymnasium[mujoco]",
    "pygame": "gymnasium[classic-control]",
}


def rethrow(what: str, error: BaseException) -> NoReturn:
    """Raise what user code raised as an error of rljob; a request to end and errors of rljob stay what they are.

    Args:
        what: who raised when, e.g. `environment 3 raised at step 12`.

    Raises:
        UserCodeError: has the traceback from the first frame of user code on.
    """
    if isinstance(error, AskedToEnd | RLJobError) or _is_ctrl_c(error):
        raise error
    raise UserCodeError(f"{what}: {explain(error)}", trace(error)) from error


def from_user_code(error: BaseException) -> UserCodeError | None:
    """What user code raised outside of `rethrow`: in an algorithm, or in a network that computes.

    Returns:
        None for errors of rljob, and for what no file of the user has part in.
    """
    if isinstance(error, AskedToEnd | RLJobError) or not _own_frames(error):
        return None
    return UserCodeError(f"user code raised {explain(error)}", trace(error))


def explain(error: BaseException) -> str:
    """The exception in one line: its text, its place in user code, and what to install for a missing module."""
    text = f"{_name(error)}{_place(error)}"
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return text
    package = _PACKAGES.get(error.name.partition(".")[0])
    if package is not None:
        return f'{text}. Try: pip install "{package}"'
    return f"{text}. It must be installed, in the current folder, or on PYTHONPATH."


def package_of(module: str) -> str:
    """What to install for a module that is not there."""
    top = module.partition(".")[0]
    return _PACKAGES.get(top, top.replace("_", "-"))


def trace(error: BaseException) -> str:
    """The traceback from the first frame outside rljob on; empty if there is none."""
    shown = traceback.TracebackException.from_exception(error, compact=True)
    frames = shown.stack
    while frames and frames[0].filename.startswith((_OURS, "<frozen")):
        frames.pop(0)
    return "".join(shown.format()) if frames else ""


def _name(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"SystemExit: sys.exit({error.code!r}) was called"[:_MAX_LINE]
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = "(its text cannot be had)"
    return (f"{type(error).__name__}: {text}" if text else type(error).__name__)[:_MAX_LINE]


def _place(error: BaseException) -> str:
    """Where it was raised: the innermost frame of neither rljob nor an installed package, else the innermost
    that is not rljob's."""
    for frame in _own_frames(error) or _frames(error):
        return f" ({frame.filename}:{frame.lineno}, in {frame.name})"
    return ""


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames that are not rljob's, innermost first."""
    return [
        frame
        for frame in reversed(traceback.extract_tb(error.__traceback__))
        if not frame.filename.startswith((_OURS, _IMPORTS, "<"))
    ]


def _own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Those of neither rljob nor an installed package."""
    return [frame for frame in _frames(error) if not frame.filename.startswith(_INSTALLED)]


def _is_ctrl_c(error: BaseException) -> bool:
    """Whether the user pressed Ctrl-C: where a role has set its own handler, only user code raises this."""
    handler = signal.getsignal(signal.SIGINT)
    return isinstance(error, KeyboardInterrupt) and handler is signal.default_int_handler
