"""Adapters in an encoder: what a checkpoint holds of them, and the layers that serve them."""
