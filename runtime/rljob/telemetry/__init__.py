"""The HTTP pages of a process: metrics, health, state."""
