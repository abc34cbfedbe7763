"""Pure NumPy geometry: prompts, polygons, metrics. No torch, no Label Studio."""
