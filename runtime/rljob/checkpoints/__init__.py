"""Checkpoints on disk, the policies in them, and both as archives."""
