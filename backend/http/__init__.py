"""What every request passes, whoever answers it: credentials, bounds, and request metrics."""
