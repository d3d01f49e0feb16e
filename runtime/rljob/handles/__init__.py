"""Handles of jobs for Python: the same names for a job on a cluster and for a run on this machine.

status    status of a job, and its failure
base      what all handles have
cluster   `rljob.submit`, and the handle of a job on a cluster
run       `rljob.start`, and the handle of a run on this machine
attach    `rljob.attach`: the handle of a job or run that is there
"""
