"""Explains why a job is not training, or not faster: verdict, evidence and advice. Pure."""
