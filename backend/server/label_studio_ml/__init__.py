"""The same service inside label-studio-ml's own harness, for those who start all their backends with it."""
