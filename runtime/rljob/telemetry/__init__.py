"""What a process tells about itself over HTTP: metrics, health, state."""
