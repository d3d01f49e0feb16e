"""What every process of a job has, whatever its role: its context, its addresses, when to stop."""
