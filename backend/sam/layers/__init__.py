"""Layers and arithmetic that are faster than the plain ones, and equal to them."""
