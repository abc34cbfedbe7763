"""The encoder that serves with an adapter. All that does not change is shared with the base's, tensor by tensor."""

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
    """Every kind of adapter, by name: a module here with a constant `KIND` is one."""
    names = sorted(module.name for module in pkgutil.iter_modules(adapters.__path__))
    modules = (importlib.import_module(f"{adapters.__name__}.{name}") for name in names)
    return {module.KIND.name: module.KIND for module in modules if hasattr(module, "KIND")}


def adapter_sizes(entry: object, *, version: str) -> tuple[int, float]:
    """Read rank and alpha.

    Args:
        entry: the `adapter` of a manifest's `config`.
        version: the checkpoint's, for the error.

    Raises:
        BadCheckpoint: the entry does not say both, or no adapter has such.
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
    """What an adapter of this kind and rank holds for an encoder with these places: every weight's shape by name."""
    of_kind, shapes = list_kinds()[kind], dict[str, tuple[int, ...]]()
    for name, place in places.items():
        shapes |= of_kind.shapes(name, place, rank=rank)
    return shapes


def adapt_encoder(encoder: Module, adapter: Adapter, *, places: Mapping[str, Place]) -> Module:
    """An encoder of its own with the adapter, in evaluation mode; what the adapter does not change is shared.

    The adapter's state must be as `list_shapes` says.
    """
    own = share_tensors(encoder)
    list_kinds()[adapter.kind].put_into(own, adapter, places=places)
    return own.requires_grad_(requires_grad=False).eval()


def share_tensors(module: Module) -> Module:
    """A copy whose modules are its own, so that they can be exchanged, and whose tensors are the original's."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})
