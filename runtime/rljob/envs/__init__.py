"""Environments: made from a job, stepped together, their spaces described without Gymnasium."""
