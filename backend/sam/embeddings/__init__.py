"""Embeddings in memory and on disk, and the key that they are cached under."""
