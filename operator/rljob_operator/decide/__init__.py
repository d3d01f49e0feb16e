"""Decisions of the operator. Pure: no I/O, no clock."""
