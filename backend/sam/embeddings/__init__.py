"""Caches embeddings in memory and on disk.

embedding  the type of an embedding: an encoder's output for one image
domain     tells images like those that a project has learnt from, from other images
memory     an embedding's key and precision, and the cache in memory
files      the cache on disk, one safetensors file an image
"""
