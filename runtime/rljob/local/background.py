"""Runs a job in a process of its own, which goes on when the process that started it ends.

The caller checks the job and makes its folder, so that it has all errors of the input at once. It hands the folder over.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from rljob import spec
from rljob.errors import InputError, RLJobError, RunError
from rljob.local.prepare import Request, prepare
from rljob.local.run import Quiet, heed_signals, launch_prepared
from rljob.local.spawner import Spawner
from rljob.local.supervisor import Stop
from rljob.run_folder.folder import RunFolder
from rljob.spec import RLJob

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from rljob.local.background import main; sys.exit(main())"
)
END_SECONDS = 60.0
_ERROR = "rljob-error "
"""Starts the line of the output that has the error."""


class BackgroundRun:
    """A run that this process has started.

    Args:
        folder: the run's folder.
        output: of the process; it is closed when the process has ended.

    Attributes:
        ended_at: when the process ended, Unix time; infinite before.
    """

    def __init__(
        self, job: RLJob, folder: Path, process: subprocess.Popen[str], output: IO[bytes]
    ) -> None:
        self.job, self.folder = job, folder
        self._process = process
        self._output: bytes = b""
        self.ended_at = math.inf
        # A process that has ended would stay a zombie without it.
        self._waiting = threading.Thread(target=self._wait, args=(output,), daemon=True)
        self._waiting.start()

    def _wait(self, output: IO[bytes]) -> None:
        with output:
            self._process.wait()
            self.ended_at = time.time()
            output.seek(0)
            self._output = output.read()

    def error(self) -> RLJobError | None:
        """Why the process ended without a result; None for a run that has one. Call it once the process has given up the
        run's folder: it waits for the end of the process."""
        self._waiting.join(END_SECONDS)
        code = self._process.returncode
        if self._waiting.is_alive() or code is None:
            return RunError(f"the run's process {self._process.pid} does not end")
        if code == 0:
            return None
        *_, last = ["", *self._output.decode("utf-8", "replace").splitlines()]
        if not last.startswith(_ERROR):
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            return RunError(f"the run's process ended ({how}){f': {last}' if last else ''}")
        value = json.loads(last.removeprefix(_ERROR))
        if value["input"]:
            error = InputError(value["message"], path=value["path"])
            return spec.locate(self.job, error)
        return RunError(value["message"])


def start(request: Request) -> BackgroundRun:
    """Check the job, make its folder and start the run.

    Raises:
        InputError: the job is invalid; no files are left.
        RunError: the folder cannot be written.
    """
    job, folder = prepare(request)
    value, lock = folder.hand_over()
    output = tempfile.TemporaryFile(prefix="rljob-output-")  # noqa: SIM115 - a thread closes it
    path = [str(Path(entry or ".").absolute()) for entry in sys.path]
    asked = {
        "job": spec.dump(job),
        "folder": value,
        "resume": request.resume,
        "transport": request.transport,
        "search": [str(place.resolve()) for place in request.search],
    }
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT, json.dumps(path)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            text=True,
            pass_fds=[lock],
            # Neither a terminal's Ctrl-C nor its end is the run's.
            start_new_session=True,
        )
    except OSError as error:
        output.close()
        folder.discard()
        raise RunError(f"cannot start the run's process: {error.strerror}") from error
    finally:
        folder.close()
    assert process.stdin is not None
    # A process that has died already tells why with its output.
    with suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(json.dumps(asked))
    return BackgroundRun(job, folder.path, process, output)


def main() -> int:
    """Run what the caller asks for on stdin; returns the exit code."""
    # It imports its modules while the request is read.
    spawner, stop = Spawner(), Stop()
    heed_signals(stop)
    try:
        asked: dict[str, Any] = json.load(sys.stdin)
        request = Request(
            None,
            resume=asked["resume"],
            transport=asked["transport"],
            search=tuple(Path(place) for place in asked["search"]),
        )
        folder = RunFolder.taken_over(asked["folder"])
        request = replace(request, directory=folder.path)
        launch_prepared(request, spec.parse(asked["job"]), folder, spawner, Quiet(), stop)
    except RLJobError as error:
        invalid = isinstance(error, InputError)
        value = {"input": invalid, "message": str(error), "path": ""}
        if isinstance(error, InputError):
            value |= {"message": error.message, "path": error.path}
        print(f"\n{_ERROR}{json.dumps(value)}", flush=True)
        return error.exit_code
    finally:
        spawner.close(kill=stop.times > 1)
    return 0
