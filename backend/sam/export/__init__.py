"""A model as a folder that other programs load."""
