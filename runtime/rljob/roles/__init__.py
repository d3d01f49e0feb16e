"""The roles of a job, one package each."""
