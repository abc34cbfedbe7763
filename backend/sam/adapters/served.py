"""Adapters in an encoder: what a checkpoint holds of one, and the encoder that serves with it.

An adapter sits on the fused `qkv` layers, whoever made the encoder: transformers' ViT and TinyViT name them alike. LoRA
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

LORA, CONV_LORA = "lora", "conv-lora"
_MOST_RANK = 256
QKV = "qkv"
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


def expected_shapes(encoder: nn.Module, *, method: str, rank: int) -> dict[str, tuple[int, ...]]:
    """What an adapter of this method and rank holds for an encoder: every weight's shape by its name."""
    found: dict[str, tuple[int, ...]] = {}
    for name, layer in qkv_layers(encoder).items():
        down, up = (rank, layer.in_features), (layer.out_features, rank)
        if method == LORA:
            found |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
            continue
        found |= {f"{name}.down": down, f"{name}.up": up}
        found |= {f"{name}.router.{part}": (rank, EXPERTS) for part in ("gate", "noise")}
        for number in range(EXPERTS):
            found |= {f"{name}.experts.{number}.weight": (rank, rank, 3, 3), f"{name}.experts.{number}.bias": (rank,)}
    return found


def adapted_encoder(encoder: Module, adapter: Adapter) -> Module:
    """An encoder of its own with the adapter, in evaluation mode; what the adapter does not change is shared.

    The adapter's state must be as `expected_shapes` says. LoRA's sum is made in float32 and rounded once.
    """
    own = sharing(encoder)
    device = next(own.parameters()).device
    if adapter.method == LORA:
        for name, layer in qkv_layers(own).items():
            down, up = (adapter.state[f"{name}.lora_{part}.weight"].to(device).float() for part in "AB")
            own.set_submodule(
                name, _with_weight(layer, layer.weight.float() + up @ down * (adapter.alpha / adapter.rank))
            )
    else:
        for added in attach_conv_lora(own, rank=adapter.rank, alpha=adapter.alpha):
            added.to(device)
        with torch.no_grad():
            for name, weight in adapter_parameters(own):
                weight.copy_(adapter.state[name])
    return own.requires_grad_(requires_grad=False).eval()


def qkv_layers(encoder: nn.Module) -> dict[str, nn.Linear]:
    """The layers that an adapter sits on, by name, in the order of the blocks."""
    return {
        name: module
        for name, module in encoder.named_modules()
        if name.split(".")[-1] == QKV and isinstance(module, nn.Linear)
    }


def sharing(module: Module) -> Module:
    """A copy whose modules are its own, so that they can be exchanged, and whose tensors are the original's."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    return copy.deepcopy(module, {id(each): each for each in tensors})


def _with_weight(layer: nn.Linear, weight: Tensor) -> nn.Linear:
    changed = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    changed.weight = nn.Parameter(weight.to(layer.weight.dtype), requires_grad=False)
    changed.bias = layer.bias
    return changed
