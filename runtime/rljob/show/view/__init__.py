"""Live view of a job in training, on this machine or on a cluster: numbers, lines, terminal."""
