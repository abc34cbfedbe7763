"""Geometry of arrays: prompts, polygons, outlines, metrics. No torch, no Label Studio."""
