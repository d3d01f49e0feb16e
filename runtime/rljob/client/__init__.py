"""The client of a Kubernetes cluster: RLJobs made, watched, changed and deleted, logs and policies fetched.

It needs no more than the user's own rights, and imports the Kubernetes client only where it connects.
"""
