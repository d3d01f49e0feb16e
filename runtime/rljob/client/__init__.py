"""Client of a Kubernetes cluster: creates, watches, changes and deletes RLJobs; fetches logs and policies.

It uses only the user's own rights. The Kubernetes client is imported only to connect.
"""
