"""What the methods that train an adapter in the encoder share: the mask decoder learns beside it.

The encoder's own weights are frozen and shared with the base's, in the arithmetic that serves; the adapter's are
float32.
A step costs one pass forward through the encoder and one back, however many rounds of prompts it has: the decodes leave
their gradients on the features, and `carry_back` takes these on in one go. Of a ViT's pass forward only the input of
every block stays in memory, and the block is run again on the way back (Chen et al., "Training Deep Nets with Sublinear
Memory Cost", 2016).

At first an adapter adds nothing, so that for the first part of a training the cached embedding of an image is what the
encoder sees: only the decoder learns then, at a tenth of the price, and the adapter joins a decoder that already knows
what is asked for (`adapter_joins` of the config).
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
from backend.sam.family import Family, Maps
from backend.sam.frame import Frame
from backend.sam.loading import BaseModel, with_adapter
from backend.sam.predictor import Predictor
from finetuner.config import TrainConfig
from finetuner.data.sample import Sample
from finetuner.methods.base import ENCODER, Asked, MethodKind, Views
from finetuner.methods.decoder import DecoderMethod


@runtime_checkable
class Attached(Protocol):
    """An adapter on an encoder of its own, which learns."""

    encoder: nn.Module
    rank: int
    alpha: float

    def weights(self) -> Mapping[str, nn.Parameter]:
        """The adapter's, by the names that a checkpoint has after `vision_encoder.`."""

    def is_zero(self) -> bool:
        """Whether it still adds nothing."""

    def balance(self) -> Float[Tensor, ""]:
        """What it adds to the loss after a pass forward; 0 where it asks for nothing."""


class EncoderMethod:
    """An adapter in the encoder and the mask decoder, which learn together.

    Args:
        kind: the method.
        base: stays as it is.
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
        """The base's."""
        return self._base.frame

    @property
    def sizes(self) -> Mapping[str, Mapping[str, JsonValue] | None]:
        """The adapter's kind, rank and alpha."""
        adapter = self._adapter_kind
        return {"adapter": {"kind": adapter.name, "rank": self._attached.rank, "alpha": self._attached.alpha}}

    def trainable(self) -> Mapping[str, nn.Parameter]:
        """Every weight of the mask decoder, and then the adapter's."""
        return {
            **self._decoder.trainable(),
            **{f"{ENCODER}{name}": weight for name, weight in self._attached.weights().items()},
        }

    def begin_step(self, number: int, *, done: float) -> None:
        """Let the adapter join when its time has come."""
        self._number, self._joined = number, done >= self._config.adapter_joins

    def seen(self, sample: Sample, *, embeddings: Views, learns: bool) -> Embedding:
        """What the encoder sees with the adapter as it is now; as long as that adds nothing, what is cached."""
        # One that a training began with adds something from the first step on.
        if not (learns and self._joined) and self._attached.is_zero():
            return embeddings(sample)
        self._attached.encoder.train(learns)
        pixels = pixels_on_canvas(embeddings.picture(sample), frame=self.frame)
        # A router's noise follows from the seed and the step alone: a training that was broken off goes on alike.
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
        """One pass back through the encoder for all rounds, image after image."""
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
        """As the method `decoder` does."""
        return self._decoder.decode(embedding, prompts, previous=previous)

    def decode_several(self, images: Sequence[Asked]) -> tuple[Float[Tensor, "n 4 g g"], Float[Tensor, "n 4"]]:
        """As the method `decoder` does."""
        return self._decoder.decode_several(images)

    def predictor(self, *, version: str) -> Predictor:
        """Decoder and encoder as they are now, as they would be served."""
        return self._decoder.predictor(version=version, base=with_adapter(self._base, self._adapter()))

    def weights(self) -> bytes:
        """Decoder and adapter as the registry keeps them; nothing of the frozen encoder."""
        return self._decoder.weights(self._adapter().state)

    @property
    def _adapter_kind(self) -> AdapterKind:
        if self._kind.adapter is None:
            raise ValueError(f"method {self.name} trains an encoder without a kind of adapter to serve it with")
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
    """Begin a training with a new adapter.

    Args:
        kind: the method.
        base: what it begins from.
        config: the recipe; its rank and alpha where it says them, else the adapter's own.
        attach: makes the adapter, of an encoder, its `places`, and a `rank` and `alpha` if given.

    Raises:
        BadInput: the base's encoder has no place for an adapter.
    """
    encoder = base.model.vision_encoder
    places = base.family.places(encoder)
    if not places:
        raise BadInput(
            f"{base.name[:100]} has no plain qkv layer in its encoder that {kind.name} could adapt: it has an adapter "
            "already, or it is no ViT; set SAMLOOP_MODEL to the base it was trained on, or train with method decoder"
        )
    given = {"rank": config.rank, "alpha": config.alpha}
    sizes = {name: value for name, value in given.items() if value is not None}
    # An adapter is born random: as the seed has it, and without disturbing what others draw.
    with torch.random.fork_rng(_devices(base.device)):
        torch.manual_seed(config.seed)
        return EncoderMethod(kind, base, attached=attach(encoder, places=places, **sizes), config=config)


def recomputes(family: Family, *, config: TrainConfig) -> bool:
    """Whether the encoder's blocks run again on the way back: as the config says, or else as the family needs."""
    return family.recomputes if config.recompute is None else config.recompute


def _recompute(blocks: Iterator[nn.Module]) -> None:
    """Keep of each block its input alone."""
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def _devices(device: torch.device) -> list[torch.device]:
    """Whose generators are to be as they were: the CPU's always is."""
    return [] if device.type == "cpu" else [device]
