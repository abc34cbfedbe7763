"""A base model: weights that every project shares, and where they compute."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from backend.registry.calibration import Calibration
from backend.sam.adapters.kind import Adapter
from backend.sam.adapters.served import adapt_encoder, share_tensors
from backend.sam.family import Family, Model
from backend.sam.frame import Frame
from backend.sam.semantic.head import SemanticHead


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A SAM in evaluation mode without gradients, shared by every project; never changed after loading.

    `encoder_fingerprint` names what an embedding depends on: the encoder's weights and arithmetic. `fingerprint` names
    all weights, and not the arithmetic: a decoder trained on a GPU serves on a CPU. `image_positions` is the
    positional encoding of the embedding's grid. `calibration`, and `semantic` where its head may be served, come with a
    checkpoint that serves as a base. `source` is what loads it again: a name, or the absolute path of a folder or file.
    """

    name: str
    source: str
    family: Family
    model: Model = field(repr=False)
    device: torch.device
    encoder_dtype: torch.dtype
    encoder_fingerprint: str
    fingerprint: str
    image_positions: Float[Tensor, "1 c gh gw"] = field(repr=False)
    calibration: Calibration | None = field(default=None, repr=False)
    semantic: SemanticHead | None = field(default=None, repr=False)

    @property
    def frame(self) -> Frame:
        """How images are laid out for its encoder."""
        return self.family.frame


def new_base(name: str, model: Model, *, family: Family, source: str | None = None) -> BaseModel:
    """The model as it was read: float32 on the CPU, which is what fingerprints are of; `source` None: its name."""
    model.eval().requires_grad_(requires_grad=False)  # type: ignore[no-untyped-call]
    return BaseModel(
        name=name,
        source=source or name,
        family=family,
        model=model,
        device=torch.device("cpu"),
        encoder_dtype=torch.float32,
        encoder_fingerprint=fingerprint_of(family.sight(model)),
        fingerprint=fingerprint_of(model),
        image_positions=family.positions(model),
    )


def place_model(base: BaseModel, *, device: torch.device, dtype: torch.dtype) -> BaseModel:
    """The base where it will compute, and as it will: the encoder in `dtype`, or the costly part of it."""
    base.family.place(base.model, device=device, dtype=dtype)
    return replace(
        base,
        device=device,
        encoder_dtype=dtype,
        encoder_fingerprint=f"{base.encoder_fingerprint}-{str(dtype).removeprefix('torch.')}",
        image_positions=base.image_positions.to(device),
        semantic=None if base.semantic is None else base.semantic.to(device),
    )


def with_adapter(base: BaseModel, adapter: Adapter) -> BaseModel:
    """The base with an adapter in its encoder: its embeddings have keys of their own, all else is the base's.

    Its `fingerprint` stays: a checkpoint with an adapter belongs to the base without.
    """
    model: Any = share_tensors(base.model)
    encoder = base.model.vision_encoder
    model.vision_encoder = adapt_encoder(encoder, adapter, places=base.family.places(encoder))
    return replace(base, model=model, encoder_fingerprint=f"{base.encoder_fingerprint}+{adapter.digest}")


def fingerprint_of(module: nn.Module) -> str:
    """SHA-256 of the class and of every weight's name, shape and bytes, in the order of names; in hexadecimal."""
    digest = hashlib.sha256(type(module).__name__.encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
