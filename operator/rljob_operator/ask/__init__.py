"""Asks the pods of a job what they do."""
