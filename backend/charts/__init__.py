"""Coordinates of small charts, and the template that draws them."""
