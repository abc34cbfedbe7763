"""The type of a base model: weights that every project shares, and the device and dtype in which they compute."""

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
from backend.sam.layers.arithmetic import Arithmetic
from backend.sam.layers.graphs import Graphs
from backend.sam.layers.int8_linear import round_linear_layers
from backend.sam.semantic.head import SemanticHead


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A SAM in evaluation mode without gradients. Every project shares it, and nobody changes it after loading.

    Attributes:
        name: the version that it serves as.
        source: loads it again: a name, or the absolute path of a folder or file.
        family: its model family.
        model: transformers' model.
        device: where it computes.
        encoder_dtype: in which its encoder, or the encoder's costly part, computes.
        encoder_fingerprint: identifies what an embedding depends on: the encoder's weights and dtype.
        fingerprint: identifies all weights, but not the dtype: a decoder that was trained on a GPU serves on a CPU.
        image_positions: the positional encoding of the embedding's cells.
        calibration: that of the checkpoint which serves as the base; None for any other base.
        semantic: the head of the checkpoint which serves as the base, if it may be served.
        graphs: run the encoder.
    """

    name: str
    source: str
    family: Family
    model: Model = field(repr=False)
    device: torch.device
    arithmetic: Arithmetic
    encoder_fingerprint: str
    fingerprint: str
    image_positions: Float[Tensor, "1 c gh gw"] = field(repr=False)
    calibration: Calibration | None = field(default=None, repr=False)
    semantic: SemanticHead | None = field(default=None, repr=False)
    graphs: Graphs = field(default_factory=lambda: Graphs(torch.device("cpu")), repr=False, compare=False)

    @property
    def encoder_dtype(self) -> torch.dtype:
        """The dtype of its encoder, or of the encoder's costly part, and of the decoder that serves."""
        return self.arithmetic.dtype

    @property
    def frame(self) -> Frame:
        """How its encoder lays out images."""
        return self.family.frame


def new_base(name: str, model: Model, *, family: Family, source: str | None = None) -> BaseModel:
    """Return the base of a model in float32 on the CPU, as fingerprints need it; `source` None means `name`."""
    model.eval().requires_grad_(requires_grad=False)  # type: ignore[no-untyped-call]
    return BaseModel(
        name=name,
        source=source or name,
        family=family,
        model=model,
        device=torch.device("cpu"),
        arithmetic=Arithmetic(torch.float32),
        encoder_fingerprint=fingerprint_of(family.sight(model)),
        fingerprint=fingerprint_of(model),
        image_positions=family.positions(model),
    )


def place_model(base: BaseModel, *, device: torch.device, arithmetic: Arithmetic) -> BaseModel:
    """Return the base on another device, with its encoder, or the encoder's costly part, in another arithmetic."""
    base.family.place(base.model, device=device, dtype=arithmetic.dtype)
    if arithmetic.bits is not None:
        round_linear_layers(base.model.vision_encoder, bits=arithmetic.bits)
    return replace(
        base,
        device=device,
        arithmetic=arithmetic,
        encoder_fingerprint=f"{base.encoder_fingerprint}-{arithmetic.key}",
        image_positions=base.image_positions.to(device),
        semantic=None if base.semantic is None else base.semantic.to(device),
        graphs=Graphs(device),
    )


def with_adapter(base: BaseModel, adapter: Adapter) -> BaseModel:
    """Return the base with an adapter in its encoder. Its embeddings have other keys; everything else stays.

    This includes its `fingerprint`, because a checkpoint with an adapter belongs to the base without the adapter.
    """
    model: Any = share_tensors(base.model)
    encoder = base.model.vision_encoder
    model.vision_encoder = adapt_encoder(encoder, adapter, places=base.family.places(encoder))
    if base.arithmetic.bits is not None:  # an adapter that is merged leaves a plain layer
        round_linear_layers(model.vision_encoder, bits=base.arithmetic.bits)
    fingerprint = f"{base.encoder_fingerprint}+{adapter.digest}"
    return replace(base, model=model, encoder_fingerprint=fingerprint, graphs=Graphs(base.device))


def fingerprint_of(module: nn.Module) -> str:
    """Return the SHA-256, in hexadecimal, of the class and of every weight's name, shape and bytes, in name order."""
    digest = hashlib.sha256(type(module).__name__.encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
