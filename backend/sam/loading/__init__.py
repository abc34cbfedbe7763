"""Base models, and what projects put in place of parts of them.

base     a base model, where it computes, and a base with an adapter
trained  what a checkpoint puts into a base
bases    which base a name means, and reading it
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
