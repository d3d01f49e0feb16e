"""What every test shares: one thread per numeric library, and the same examples on every run."""

from __future__ import annotations

import os
import signal

# A shell ignores Ctrl-C for what it starts in the background, and so would the runs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Read by the libraries when they are first imported, and inherited by the processes that tests start.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

from hypothesis import settings  # noqa: E402

settings.register_profile("rljob", deadline=None, derandomize=True, database=None)
settings.load_profile("rljob")
