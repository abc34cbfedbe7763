"""The interface of a kind of adapter, and a trained adapter."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from backend.sam.adapters.places import Place


@dataclass(frozen=True, slots=True)
class Adapter:
    """A trained adapter. `state` holds float32 weights by name in the encoder; `alpha / rank` scales the update."""

    kind: str
    rank: int
    alpha: float
    state: Mapping[str, Tensor] = field(repr=False)

    @property
    def digest(self) -> str:
        """The SHA-256, in hexadecimal, of everything that changes an embedding."""
        digest = hashlib.sha256(f"{self.kind} {self.rank} {self.alpha!r}".encode())
        for name, value in sorted(self.state.items()):
            digest.update(f"\n{name} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
        return digest.hexdigest()


@runtime_checkable
class AdapterKind(Protocol):
    """Says how the adapters of one kind lie in a checkpoint, and puts them into an encoder that serves."""

    name: str
    is_merged: bool  # whether it becomes part of the encoder's weights, so that any program can load the model

    def shapes(self, name: str, place: Place, *, rank: int) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of its weights at a place, by the weight's name in the encoder.

        Args:
            name: the place's name in the encoder.
            place: the layer.
            rank: of the adapter.
        """

    def put_into(self, encoder: nn.Module, adapter: Adapter, *, places: Mapping[str, Place]) -> None:
        """Put an adapter into an encoder. Replaces modules, and never changes a tensor, because others share those.

        Args:
            encoder: has modules of its own.
            adapter: its state has the shapes of `shapes`.
            places: the layers that take the adapter, by name.
        """
