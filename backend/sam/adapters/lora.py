"""LoRA, merged: the serving encoder holds the sum of its weights and the update, and is as fast as without.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (ICLR 2022), section 4. The names of the weights end in
`lora_A.weight` and `lora_B.weight`, as in peft.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from backend.sam.adapters.kind import Adapter, AdapterKind
from backend.sam.adapters.places import Place


class LoraKind:
    """See `kind.AdapterKind`."""

    name = "lora"
    is_merged = True

    def shapes(self, name: str, place: Place, *, rank: int) -> Mapping[str, tuple[int, ...]]:
        """As `AdapterKind.shapes`: A (rank, in) and B (out, rank)."""
        return {
            f"{name}.lora_A.weight": (rank, place.layer.in_features),
            f"{name}.lora_B.weight": (place.layer.out_features, rank),
        }

    def put_into(self, encoder: nn.Module, adapter: Adapter, *, places: Mapping[str, Place]) -> None:
        """As `AdapterKind.put_into`: W + B A alpha / rank at every place, summed in float32 and rounded once."""
        for name, place in places.items():
            device = place.layer.weight.device
            down, up = (adapter.state[f"{name}.lora_{part}.weight"].to(device).float() for part in "AB")
            weight = place.layer.weight.float() + up @ down * (adapter.alpha / adapter.rank)
            encoder.set_submodule(name, _with_weight(place.layer, weight))


def _with_weight(layer: nn.Linear, weight: Tensor) -> nn.Linear:
    changed = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    changed.weight = nn.Parameter(weight.to(layer.weight.dtype), requires_grad=False)
    changed.bias = layer.bias
    return changed


KIND: AdapterKind = LoraKind()
