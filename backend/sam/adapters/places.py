"""The layers of an encoder that take an adapter."""

from collections.abc import Callable
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor, nn

QKV = "qkv"


@dataclass(frozen=True, slots=True)
class Place:
    """A linear layer, and the value of a padding token in its input; None for zeros."""

    layer: nn.Linear = field(repr=False)
    padding: Float[Tensor, " c"] | None = field(default=None, repr=False)


def qkv_places(
    encoder: nn.Module, *, padding: Callable[[nn.Module], Tensor | None] = lambda _: None
) -> dict[str, Place]:
    """Return every fused layer for queries, keys and values, by its name in the encoder, in the order of the blocks.

    Args:
        encoder: transformers' ViT, our TinyViT, or any encoder that calls the layer `qkv`.
        padding: returns the value of a padding token, for the attention that the layer belongs to.
    """
    return {
        name: Place(module, padding(encoder.get_submodule(name.rpartition(".")[0])))
        for name, module in encoder.named_modules()
        if name.split(".")[-1] == QKV and isinstance(module, nn.Linear)
    }
