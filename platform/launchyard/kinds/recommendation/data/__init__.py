"""From an interaction log to training rows, held-out users and features."""
