"""`rljob serve`: serve the newest policy of a run or job over HTTP, and a second one for a share of the callers."""

from __future__ import annotations

import argparse
import logging
import time

from rljob.cli.ports import port

MOST_OFTEN, MOST_SELDOM = 0.1, 86400.0
"""Seconds between two looks for a newer policy."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "run", metavar="RUN", help="a run's folder, one checkpoint, or a job's name on the cluster"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; default 127.0.0.1"
    )
    parser.add_argument(
        "--port", type=port, default=8000, help="0 selects a free port; default 8000"
    )
    parser.add_argument(
        "--second", metavar="RUN", help="another policy, which answers a share of the callers"
    )
    parser.add_argument(
        "--share",
        type=_share,
        default=0.1,
        metavar="SHARE",
        help="of the callers that --second answers; default 0.1",
    )
    parser.add_argument(
        "--every",
        type=_interval,
        default=5.0,
        metavar="SECONDS",
        help="time between two looks for a newer policy; default 5",
    )
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    from rljob.policies.serving.http import PolicyHttp
    from rljob.policies.serving.server import PolicyServer, ServedPolicy
    from rljob.process.stopping import Stopping

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    second = ServedPolicy(arguments.second) if arguments.second else None
    server = PolicyServer(ServedPolicy(arguments.run), second, arguments.share if second else 0.0)
    stop = Stopping()
    stop.listen()
    http = PolicyHttp(server, arguments.host, arguments.port, every=arguments.every)
    for name, served in server.served.items():
        print(f"{name}: {served.policy!r} of {served.where}")
    print(f"http://{arguments.host}:{http.port}/act", flush=True)
    try:
        while not stop.asked:
            time.sleep(0.2)
    finally:
        http.close()
    return 0


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not MOST_OFTEN <= seconds <= MOST_SELDOM:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds from {MOST_OFTEN:g} to {MOST_SELDOM:g}"
        )
    return seconds


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return share
