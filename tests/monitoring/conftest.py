"""The API server that the tests of the operator's metrics share."""

from __future__ import annotations

from tests.controlplane.conftest import apiserver, namespace

__all__ = ["apiserver", "namespace"]
