"""The folder of a run: file names, formats, lock and provenance."""
