"""Loads base models, and the parts that a checkpoint puts in place of theirs.

base     the type of a base model, on its device, with or without an adapter
trained  reads, checks and writes the parts that a checkpoint puts into a base
bases    finds the base that a name means, and loads it
"""

from backend.sam.loading.base import BaseModel, with_adapter
from backend.sam.loading.bases import base_name, base_version, load_as_stored, load_base, load_base_of, resolve_device
from backend.sam.loading.trained import Trained, decoder_bytes, decoder_of, find_trained, new_head

__all__ = [
    "BaseModel",
    "Trained",
    "base_name",
    "base_version",
    "decoder_bytes",
    "decoder_of",
    "find_trained",
    "load_as_stored",
    "load_base",
    "load_base_of",
    "new_head",
    "resolve_device",
    "with_adapter",
]
