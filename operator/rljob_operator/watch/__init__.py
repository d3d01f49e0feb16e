"""What the watches report, kept in a cache, and which jobs are to be looked at."""
