"""Adapters in an encoder: what a checkpoint holds of one, and the encoder that serves with it.

An adapter sits on the layers that the model's family names (`Family.places`). LoRA
(Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, section 4) is added to the weights, and
then costs nothing; Conv-LoRA depends on the image, and stays a layer of its own. All that does not change is shared
with the base's encoder, tensor by tensor.
"""

import copy
import hashlib
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from backend.errors import BadCheckpoint
from backend.sam.adapters.conv_lora import EXPERTS, adapter_parameters, attach_conv_lora
from backend.sam.adapters.places import Place

LORA, CONV_LORA = "lora", "conv-lora"
_MOST_RANK = 256
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Adapter:
    """A trained adapter: `state` by the names that it has in the encoder, float32; `alpha` / `rank` scales it.

    LoRA's names end in `lora_A.weight` and `lora_B.weight`, as peft saves them; Conv-LoRA's are ConvLoraLinear's.
    """

    method: str
    rank: int
    alpha: float
    state: Mapping[str, Tensor] = field(repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal of all that changes what an encoder sees."""
        digest = hashlib.sha256(f"{self.method} {self.rank} {self.alpha!r}".encode())
        for name, value in sorted(self.state.items()):
            digest.update(f"\n{name} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
        return digest.hexdigest()


def adapter_sizes(config: Mapping[str, Any], *, version: str) -> tuple[int, float]:
    """Rank and alpha, as a manifest's `config` tells them of the checkpoint `version`.

    Raises:
        BadCheckpoint: it does not, or no adapter has such.
    """
    told = config.get("adapter")
    match told:
        case {"rank": int(rank), "alpha": float() | int() as alpha}:
            if 1 <= rank <= _MOST_RANK and math.isfinite(alpha):
                return rank, float(alpha)
    raise BadCheckpoint(
        f"the manifest of {version} says adapter={str(told)[:80]!r}: a rank from 1 to {_MOST_RANK} and an alpha are "
        "expected; train again"
    )


def expected_shapes(places: Mapping[str, Place], *, method: str, rank: int) -> dict[str, tuple[int, ...]]:
    """What an adapter of this method and rank holds for an encoder with these places: every weight's shape by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, place in places.items():
        down, up = (rank, place.layer.in_features), (place.layer.out_features, rank)
        if method == LORA:
            shapes |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
            continue
        shapes |= {f"{name}.down": down, f"{name}.up": up}
        shapes |= {f"{name}.router.{part}": (rank, EXPERTS) for part in ("gate", "noise")}
        for number in range(EXPERTS):
            shapes |= {f"{name}.experts.{number}.weight": (rank, rank, 3, 3), f"{name}.experts.{number}.bias": (rank,)}
    return shapes


def adapted_encoder(encoder: Module, adapter: Adapter, *, places: Mapping[str, Place]) -> Module:
    """An encoder of its own with the adapter, in evaluation mode; what the adapter does not change is shared.

    The adapter's state must be as `expected_shapes` says. LoRA's sum is made in float32 and rounded once.
    """
    own = sharing(encoder)
    device = next(own.parameters()).device
    if adapter.method == LORA:
        for name, place in places.items():
            down, up = (adapter.state[f"{name}.lora_{part}.weight"].to(device).float() for part in "AB")
            weight = place.layer.weight.float() + up @ down * (adapter.alpha / adapter.rank)
            own.set_submodule(name, _with_weight(place.layer, weight))
    else:
        for added in attach_conv_lora(own, places=places, rank=adapter.rank, alpha=adapter.alpha):
            added.to(device)
        with torch.no_grad():
            for name, weight in adapter_parameters(own):
                weight.copy_(adapter.state[name])
    return own.requires_grad_(requires_grad=False).eval()


def sharing(module: Module) -> Module:
    """A copy whose modules are its own, so that they can be exchanged, and whose tensors are the original's."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


def _with_weight(layer: nn.Linear, weight: Tensor) -> nn.Linear:
    changed = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    changed.weight = nn.Parameter(weight.to(layer.weight.dtype), requires_grad=False)
    changed.bias = layer.bias
    return changed
