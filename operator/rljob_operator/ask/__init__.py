"""Requests to the pods of a job."""
