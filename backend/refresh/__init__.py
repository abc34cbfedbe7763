"""Fresh pre-annotations: the backend computes them, Label Studio stores them."""
