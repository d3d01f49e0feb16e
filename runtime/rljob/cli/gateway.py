"""`rljob gateway`: let programs in any language act for a job, over HTTP and JSON."""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

from rljob.cli.ports import port


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "job",
        metavar="JOB",
        help="a run's folder, a job's name on the cluster that this runs on, or its address",
    )
    parser.add_argument(
        "--keys", help="file of an application's key, as `rljob applications add` makes it"
    )
    parser.add_argument(
        "--tokens", type=Path, metavar="FILE", help='who may ask: JSON as in {"shop": "TOKEN"}'
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; default 127.0.0.1"
    )
    parser.add_argument(
        "--port", type=port, default=8080, help="0 selects a free port; default 8080"
    )
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    from rljob.application.agent import Agent
    from rljob.errors import InputError
    from rljob.gateway.server import Gateway
    from rljob.gateway.tokens import Tokens
    from rljob.process.stopping import Stopping
    from rljob.telemetry.json_http import serve_json
    from rljob.telemetry.pages import is_loopback

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.tokens is None and not is_loopback(arguments.host):
        raise InputError(
            f"--host {arguments.host} lets other machines in; --tokens FILE says who may ask"
        )
    tokens = Tokens(None) if arguments.tokens is None else Tokens.read(arguments.tokens)
    stop = Stopping()
    stop.listen()
    with Agent(
        arguments.job, keys=arguments.keys, name=None if arguments.keys else "gateway"
    ) as agent:
        gateway = Gateway(agent, tokens)
        http = serve_json(gateway, arguments.host, arguments.port, threads=8)
        print(f"http://{arguments.host}:{http.port}/episodes of {agent.job}", flush=True)
        try:
            while not stop.asked:
                time.sleep(0.2)
                gateway.expire()
        finally:
            http.close()
    return 0
