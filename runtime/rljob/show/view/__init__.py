"""What people see of a job while it trains, on this machine or on a cluster: numbers, lines, the terminal."""
