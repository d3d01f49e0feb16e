"""Carries out what was decided: workers, writes to the API server, Events, the Lease."""
