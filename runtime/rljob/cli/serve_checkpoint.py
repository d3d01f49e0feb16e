"""`rljob serve-checkpoint`: serve a learner's checkpoint and records after the learner has ended."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rljob.cli.ports import port

IDLE_SECONDS = 60.0
_LOOK_SECONDS = 0.2


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "--dir", type=Path, required=True, help="the learner's folder, or its checkpoints folder"
    )
    parser.add_argument("--job", type=Path, help="the RLJob's YAML file; default job.yaml in --dir")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; default 127.0.0.1"
    )
    parser.add_argument(
        "--port", type=port, default=9090, help="0 selects a free port; default 9090"
    )
    parser.add_argument(
        "--idle",
        type=float,
        default=IDLE_SECONDS,
        metavar="SECONDS",
        help=f"end after this time without a request; default {IDLE_SECONDS:g}",
    )
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Serve `/checkpoint`, `/records` and `/healthz` until the idle time is over."""
    from rljob.process import downloads
    from rljob.process.stopping import Stopping
    from rljob.run_folder.names import CHECKPOINTS, JOB
    from rljob.telemetry.http_server import serve_pages
    from rljob.telemetry.pages import Answer, Page, Site

    stop = Stopping()
    stop.listen()
    last = time.monotonic()
    inner = arguments.dir / CHECKPOINTS
    folder = inner if inner.is_dir() else arguments.dir
    job = arguments.job if arguments.job is not None else arguments.dir / JOB

    def counted(answer: Answer) -> Answer:
        return Answer(
            answer.status, answer.content_type, answer.size, map(passed, answer.parts), answer.close
        )

    def passed(part: bytes) -> bytes:
        nonlocal last
        last = time.monotonic()
        return part

    pages: dict[str, Page] = {
        "/checkpoint": lambda: counted(downloads.checkpoint(folder, job)),
        "/records": lambda: counted(downloads.records(arguments.dir)),
        "/healthz": lambda: Answer.text(200, "ok"),
    }
    server = serve_pages(Site(pages), arguments.host, arguments.port)
    print(f"checkpoint at http://{arguments.host}:{server.port}/checkpoint", flush=True)
    try:
        while not stop.asked and time.monotonic() - last < arguments.idle:
            time.sleep(_LOOK_SECONDS)
    finally:
        server.close()
    return 0
