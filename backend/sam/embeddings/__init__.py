"""Embeddings in memory and on disk, and the key that they are cached under.

embedding  what an encoder sees in one image
domain     which images look like those that a project has learnt from
memory     an embedding's key and precision, and the embeddings used last
files      embeddings on disk, one safetensors file an image
"""
