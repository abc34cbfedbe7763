"""Segment Anything: weights, encoder, predictor, embeddings, hot-swap slot. Here alone the backend imports torch."""
