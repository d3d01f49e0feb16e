"""Measures the parts of a job on this machine and predicts its rate with more rollouts.

`measure.measure` runs each part for a few seconds and returns `Costs`. `predict.predict` computes rates from
them without running anything.
"""
