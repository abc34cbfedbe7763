"""The layers of an encoder that an adapter sits on."""

from collections.abc import Callable
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor, nn

QKV = "qkv"


@dataclass(frozen=True, slots=True)
class Place:
    """A linear layer, and what a token of padding looks like when it comes there; None: all zeros."""

    layer: nn.Linear = field(repr=False)
    padding: Float[Tensor, " c"] | None = field(default=None, repr=False)


def qkv_places(
    encoder: nn.Module, *, padding: Callable[[nn.Module], Tensor | None] = lambda _: None
) -> dict[str, Place]:
    """Every fused layer for queries, keys and values, by its name in the encoder and in the order of the blocks.

    Args:
        encoder: transformers' ViT and our TinyViT name the layer alike.
        padding: tells what a token of padding is, from the attention that the layer belongs to.
    """
    return {
        name: Place(module, padding(encoder.get_submodule(name.rpartition(".")[0])))
        for name, module in encoder.named_modules()
        if name.split(".")[-1] == QKV and isinstance(module, nn.Linear)
    }
