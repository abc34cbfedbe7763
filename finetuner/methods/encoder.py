"""The common part of the methods that train an adapter in the encoder together with the mask decoder.

The encoder's own weights are frozen, shared with the base, and in the precision that serving uses; the adapter's are
float32.
A step costs one forward and one backward pass through the encoder, however many rounds of prompts it has: the decodes
leave their gradients on the features, and `carry_back` passes them through the encoder at once. A ViT's forward pass
stores only the input of every block, and the backward pass runs the block again (Chen et al., "Training Deep Nets with
Sublinear Memory Cost", 2016).

An adapter adds nothing at first, so the cached embeddings are exact until it joins. In that first part of a training
only the decoder learns, at a tenth of the cost, and the adapter then joins a trained decoder (`adapter_joins` of the
config).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from pydantic import JsonValue
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from backend.errors import BadInput
from backend.masks.prompt import Prompt
from backend.sam.adapters.kind import Adapter, AdapterKind
from backend.sam.canvas import pixels_on_canvas
from backend.sam.embeddings.embedding import Embedding
from backend.sam.family import Decoded, Family, Maps
from backend.sam.frame import Frame
from backend.sam.loading import BaseModel, with_adapter
from backend.sam.predictor import Predictor
from finetuner.config import TrainConfig
from finetuner.data.sample import Sample
from finetuner.methods.base import ENCODER, Asked, MethodKind, Views
from finetuner.methods.decoder import DecoderMethod


@runtime_checkable
class Attached(Protocol):
    """An adapter on its own copy of an encoder, during a training."""

    encoder: nn.Module
    rank: int
    alpha: float

    def weights(self) -> Mapping[str, nn.Parameter]:
        """The adapter's weights, by their names in a checkpoint without the prefix `vision_encoder.`."""

    def is_zero(self) -> bool:
        """Whether the adapter adds nothing yet."""

    def balance(self) -> Float[Tensor, ""]:
        """The term that the adapter adds to the loss after a forward pass, a scalar; 0 if it has none."""


class EncoderMethod:
    """Trains an adapter in the encoder together with the mask decoder.

    Args:
        kind: the method.
        base: the base, which the training does not change.
        attached: the adapter, on a copy of the base's encoder.
        config: the recipe.
    """

    def __init__(self, kind: MethodKind, base: BaseModel, *, attached: Attached, config: TrainConfig) -> None:
        self.name, self.pace, self._kind = kind.name, kind.pace_of(config), kind
        self._base, self._attached, self._config = base, attached, config
        self._decoder = DecoderMethod(base, precision=config.precision)
        self._is_half = self._decoder.is_half and base.encoder_dtype == torch.float32
        self._number, self._joined = 0, False
        self._under_way: list[tuple[Maps, Maps, Tensor]] = []
        if recomputes(base.family, config=config):
            _recompute(base.family.blocks(attached.encoder))

    @property
    def frame(self) -> Frame:
        """The base's frame."""
        return self._base.frame

    @property
    def scores_objects(self) -> bool:
        """As Method.scores_objects."""
        return self._base.family.scores_objects

    @property
    def sizes(self) -> Mapping[str, Mapping[str, JsonValue] | None]:
        """The adapter's kind, rank and alpha."""
        adapter = self._adapter_kind
        return {"adapter": {"kind": adapter.name, "rank": self._attached.rank, "alpha": self._attached.alpha}}

    def trainable(self) -> Mapping[str, nn.Parameter]:
        """Every weight of the mask decoder, then the adapter's."""
        return {
            **self._decoder.trainable(),
            **{f"{ENCODER}{name}": weight for name, weight in self._attached.weights().items()},
        }

    def begin_step(self, number: int, *, done: float) -> None:
        """Let the adapter join once the share `adapter_joins` of the training is over."""
        self._number, self._joined = number, done >= self._config.adapter_joins

    def embed(self, sample: Sample, *, embeddings: Views, learns: bool) -> Embedding:
        """The embedding by the encoder with the current adapter; the cached one while the adapter adds nothing."""
        # The adapter of a served version, from which a training started, adds something from the first step on.
        if not (learns and self._joined) and self._attached.is_zero():
            return embeddings(sample)
        self._attached.encoder.train(learns)
        pixels = pixels_on_canvas(embeddings.picture(sample), frame=self.frame)
        # A router's noise depends on the seed and the step alone, so a resumed training repeats it.
        with torch.random.fork_rng(_devices(self._base.device)), torch.set_grad_enabled(learns):
            torch.manual_seed((self._config.seed * 1_000_003 + self._number) % (1 << 63))
            maps = self._encode(pixels)
            balance = self._attached.balance()
        leaves = tuple(values.detach().float().contiguous().requires_grad_(learns) for values in maps)
        if learns:
            self._under_way.append((maps, leaves, balance))
        features, *finer = leaves
        return Embedding(features, sample.height_px, sample.width_px, tuple(finer))

    def carry_back(self, *, of: int = 1) -> None:
        """Run one backward pass through the encoder for all rounds, image by image."""
        under_way, self._under_way = self._under_way, []
        for maps, leaves, balance in under_way:
            pairs = zip(maps, leaves, strict=True)
            learnt = [(values, leaf.grad.to(values.dtype)) for values, leaf in pairs if leaf.grad is not None]
            if learnt:
                outputs, gradients = map(list, zip(*learnt, strict=True))
                if balance.requires_grad:
                    outputs.append(balance)
                    gradients.append(torch.full_like(balance, 1 / of))
                torch.autograd.backward(outputs, gradients)

    def decode(
        self, embedding: Embedding, prompts: Sequence[Prompt], *, previous: Float[Tensor, "n g g"] | None = None
    ) -> tuple[Float[Tensor, "n 4 g g"], Float[Tensor, "n 4"]]:
        """As DecoderMethod.decode."""
        return self._decoder.decode(embedding, prompts, previous=previous)

    def decode_several(self, images: Sequence[Asked]) -> Decoded:
        """As DecoderMethod.decode_several."""
        return self._decoder.decode_several(images)

    def predictor(self, *, version: str) -> Predictor:
        """A predictor with copies of the current decoder and adapter, as it would be served."""
        return self._decoder.predictor(version=version, base=with_adapter(self._base, self._adapter()))

    def weights(self) -> bytes:
        """The checkpoint's weights: decoder and adapter, without the frozen encoder."""
        return self._decoder.weights(self._adapter().state)

    @property
    def _adapter_kind(self) -> AdapterKind:
        if self._kind.adapter is None:
            raise ValueError(f"method {self.name} trains an adapter in the encoder, but its MethodKind names none")
        return self._kind.adapter

    def _encode(self, pixels: Float[Tensor, "1 3 s s"]) -> Maps:
        encoder = self._attached.encoder
        pixels = pixels.to(self._base.device, next(encoder.parameters()).dtype)
        with torch.autocast(self._base.device.type, torch.bfloat16, enabled=self._is_half):
            return self._base.family.encode(encoder, pixels)

    def _adapter(self) -> Adapter:
        state = {name: weight.detach().cpu().float().clone() for name, weight in self._attached.weights().items()}
        return Adapter(self._adapter_kind.name, self._attached.rank, self._attached.alpha, state)


def begin_with(
    kind: MethodKind, base: BaseModel, *, config: TrainConfig, attach: Callable[..., Attached]
) -> EncoderMethod:
    """Start a training with a new adapter.

    Args:
        kind: the method.
        base: the base to start from.
        config: the recipe; without its `rank` and `alpha` the adapter's defaults apply.
        attach: builds the adapter from an encoder, its `places`, and optionally `rank` and `alpha`.

    Raises:
        BadInput: the base's encoder has no place for an adapter.
    """
    encoder = base.model.vision_encoder
    places = base.family.places(encoder)
    if not places:
        raise BadInput(
            f"{base.name[:100]} has no plain qkv layer in its encoder that {kind.name} could adapt: it already has an "
            "adapter, or it is no ViT; set SAMLOOP_MODEL to the base it was trained on, or SAMLOOP_METHOD=decoder"
        )
    given = {"rank": config.rank, "alpha": config.alpha}
    sizes = {name: value for name, value in given.items() if value is not None}
    # The adapter's random first weights follow from the seed, without a change to the global generator.
    with torch.random.fork_rng(_devices(base.device)):
        torch.manual_seed(config.seed)
        return EncoderMethod(kind, base, attached=attach(encoder, places=places, **sizes), config=config)


def recomputes(family: Family, *, config: TrainConfig) -> bool:
    """Whether the backward pass runs the encoder's blocks again: as the config says, else as the family prefers."""
    return family.recomputes if config.recompute is None else config.recompute


def _recompute(blocks: Iterator[nn.Module]) -> None:
    """Store only the input of each block in the forward pass."""
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def _devices(device: torch.device) -> list[torch.device]:
    """The devices whose random generators fork_rng must save; it always saves the CPU's."""
    return [] if device.type == "cpu" else [device]
