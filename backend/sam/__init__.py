"""Segment Anything: weights, encoder, predictor, embedding cache, hot-swap slot. The only place in backend that imports torch."""
