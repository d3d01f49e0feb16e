"""A package with this file, so that a `tests` that a peer installs beside its own code does not hide it."""
