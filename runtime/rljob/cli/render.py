"""`rljob render`: print the Kubernetes objects that the operator makes for a job."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from rljob import spec
from rljob.kube.manifests import keys_secret, preview
from rljob.spec import RLJob, yamltext

_KEYS = "# Generated when the job is created: ROLE.public and ROLE.secret for each role."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("file", type=Path, help="the RLJob's YAML file")
    parser.add_argument("-n", "--namespace", metavar="NAME", help="namespace of the objects")
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        help="set any field, e.g. rollout.replicas=4; may be repeated",
    )
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Print the objects. No cluster is needed."""
    overrides = list(arguments.overrides)
    if arguments.namespace is not None:
        overrides.append(f"metadata.namespace={json.dumps(arguments.namespace)}")
    job = spec.load(arguments.file, overrides)
    text = "".join(f"---\n{document}" for document in documents(job))
    sys.stdout.write(text)
    return 0


def documents(job: RLJob) -> Iterator[str]:
    """One YAML text for each object, in the order in which they are applied; raises as `preview`."""
    children = preview(job)
    for child in children.shared:
        yield yamltext.dump(child)
    secret = keys_secret(job, None, {})
    yield f"{_KEYS}\n{yamltext.dump(secret)}"
    for workload in children.workloads.values():
        yield yamltext.dump(workload)
