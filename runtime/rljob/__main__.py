"""`python -m rljob`: the same as `rljob`."""

from __future__ import annotations

import sys

from rljob.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
