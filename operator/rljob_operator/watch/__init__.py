"""Watches, the cache that they fill, and the queue of jobs to reconcile."""
