"""Distributed reinforcement learning from one YAML, on a laptop or on Kubernetes."""

from __future__ import annotations

__version__ = "0.1.0"
