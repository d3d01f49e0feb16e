"""Policies over HTTP: batches, versions, and the server around them."""
