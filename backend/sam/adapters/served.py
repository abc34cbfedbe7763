"""Puts an adapter into an encoder that serves. The encoder shares all other tensors with the base's encoder."""

import copy
import importlib
import itertools
import math
import pkgutil
from collections.abc import Mapping
from typing import TypeVar

from torch import nn

from backend.errors import BadCheckpoint
from backend.sam import adapters
from backend.sam.adapters import conv_lora, lora
from backend.sam.adapters.kind import Adapter, AdapterKind
from backend.sam.adapters.places import Place

LORA, CONV_LORA = lora.KIND.name, conv_lora.KIND.name
_MOST_RANK = 256
Module = TypeVar("Module", bound=nn.Module)


def list_kinds() -> dict[str, AdapterKind]:
    """Return every kind of adapter, by name: the constants `KIND` of the modules in this room."""
    names = sorted(module.name for module in pkgutil.iter_modules(adapters.__path__))
    modules = (importlib.import_module(f"{adapters.__name__}.{name}") for name in names)
    return {module.KIND.name: module.KIND for module in modules if hasattr(module, "KIND")}


def adapter_sizes(entry: object, *, version: str) -> tuple[int, float]:
    """Return the rank and the alpha of an adapter.

    Args:
        entry: the `adapter` of a manifest's `config`.
        version: the checkpoint's version, for the error.

    Raises:
        BadCheckpoint: the entry lacks a rank from 1 to 256, or a finite alpha.
    """
    match entry:
        case {"rank": int(rank), "alpha": float() | int() as alpha}:
            if 1 <= rank <= _MOST_RANK and math.isfinite(alpha):
                return rank, float(alpha)
    raise BadCheckpoint(
        f"the manifest of {version} says adapter={str(entry)[:80]!r}: a rank from 1 to {_MOST_RANK} and an alpha are "
        "expected; train again"
    )


def list_shapes(places: Mapping[str, Place], *, kind: str, rank: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an adapter's weights, by name, for an encoder with these places."""
    of_kind, shapes = list_kinds()[kind], dict[str, tuple[int, ...]]()
    for name, place in places.items():
        shapes |= of_kind.shapes(name, place, rank=rank)
    return shapes


def adapt_encoder(encoder: Module, adapter: Adapter, *, places: Mapping[str, Place]) -> Module:
    """Return a copy of the encoder with the adapter, in evaluation mode. Shares every tensor that stays the same.

    The adapter's state must have the shapes of `list_shapes`.
    """
    own = share_tensors(encoder)
    list_kinds()[adapter.kind].put_into(own, adapter, places=places)
    return own.requires_grad_(requires_grad=False).eval()


def share_tensors(module: Module) -> Module:
    """Return a copy with modules of its own, which may be replaced, and with the tensors of the original."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})
