"""Run by `helm test` in the operator's image: checks that the operator is ready and the API server serves RLJobs."""

from __future__ import annotations

import ssl
import sys
import time
import urllib.request
from pathlib import Path

SECONDS = 60.0
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DEFINITION = "https://kubernetes.default.svc/apis/rljob.dev/v1alpha1"


def problem(url: str, trusted: ssl.SSLContext | None, token: str) -> str:
    """Why a URL does not return 200; empty if it does."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5, context=trusted):
            return ""
    except OSError as error:
        return str(error)


def main() -> int:
    trusted = ssl.create_default_context(cafile=ACCOUNT / "ca.crt")
    pages = ((sys.argv[1], None, ""), (DEFINITION, trusted, (ACCOUNT / "token").read_text()))
    deadline = time.monotonic() + SECONDS
    for url, context, token in pages:
        while reason := problem(url, context, token):
            if time.monotonic() > deadline:
                print(f"{url}: {reason}", file=sys.stderr)
                return 1
            time.sleep(1)
        print(f"{url}: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
