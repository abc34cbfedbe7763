"""Checkpoints as files, not models: publish, verify, point at, watch."""
