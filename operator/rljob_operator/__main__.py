"""`python -m rljob_operator`."""

from __future__ import annotations

import sys

from rljob_operator.main import main

if __name__ == "__main__":
    sys.exit(main())
