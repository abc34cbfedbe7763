"""Coordinates of small charts, and the template that draws them.

chart  lines, ticks and dots in a chart's own units
"""
