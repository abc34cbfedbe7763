"""Base models, and what projects put in place of parts of them.

base     a base model, where it computes, and a base with an adapter
trained  what a checkpoint puts into a base
bases    which base a name means, and reading it
"""

from backend.sam.loading.base import BaseModel, with_adapter
from backend.sam.loading.bases import base_name, base_version, load_as_stored, load_base, load_base_of, resolved_device
from backend.sam.loading.trained import Trained, decoder_bytes, decoder_of, new_head, trained_of

__all__ = [
    "BaseModel",
    "Trained",
    "base_name",
    "base_version",
    "decoder_bytes",
    "decoder_of",
    "load_as_stored",
    "load_base",
    "load_base_of",
    "new_head",
    "resolved_device",
    "trained_of",
    "with_adapter",
]
