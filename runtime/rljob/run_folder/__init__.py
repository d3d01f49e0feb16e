"""The folder of a run: its files, who may write to it, and what made it."""
