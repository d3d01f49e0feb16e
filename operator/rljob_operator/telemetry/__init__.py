"""What the operator tells about itself: metrics, health, logs."""
