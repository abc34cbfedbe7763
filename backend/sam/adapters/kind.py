"""What a kind of adapter is, and a trained one."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from backend.sam.adapters.places import Place


@dataclass(frozen=True, slots=True)
class Adapter:
    """A trained adapter: `state` by the names that it has in the encoder, float32; `alpha` / `rank` scales it."""

    kind: str
    rank: int
    alpha: float
    state: Mapping[str, Tensor] = field(repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal of all that changes what an encoder sees."""
        digest = hashlib.sha256(f"{self.kind} {self.rank} {self.alpha!r}".encode())
        for name, value in sorted(self.state.items()):
            digest.update(f"\n{name} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
        return digest.hexdigest()


@runtime_checkable
class AdapterKind(Protocol):
    """How the adapters of one kind are laid out in a checkpoint, and put into an encoder that serves."""

    name: str
    is_merged: bool  # into the encoder's own weights: then any program that knows the model can load it

    def shapes(self, name: str, place: Place, *, rank: int) -> Mapping[str, tuple[int, ...]]:
        """The shape of all its weights at the place of that name, by the weight's name in the encoder."""

    def put_into(self, encoder: nn.Module, adapter: Adapter, *, places: Mapping[str, Place]) -> None:
        """Change the encoder, whose modules are its own and whose tensors others share, so that it has the adapter.

        The adapter's state is as `shapes` says.
        """
