"""What the operator decides. Pure: no I/O, no clock."""
