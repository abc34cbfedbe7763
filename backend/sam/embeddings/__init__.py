"""Embeddings, by what they are kept, in memory and on disk."""
