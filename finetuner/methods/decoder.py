"""The method `decoder`: all of SAM's mask decoder moves, its score head too; both encoders stay as they are.

So an image is encoded once for all epochs and versions, a checkpoint is 16 MB, and projects share one encoder.
"""

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float
from pydantic import JsonValue
from torch import Tensor, nn
from torch.func import functional_call

from backend.masks.prompt import Prompt
from backend.sam.decoder import cells_of
from backend.sam.embeddings.embedding import Embedding
from backend.sam.family import DecoderInputs, Family, MaskDecoder
from backend.sam.frame import Frame
from backend.sam.layers.arithmetic import has_fast_bfloat16
from backend.sam.loading import BaseModel, decoder_bytes
from backend.sam.predictor import Predictor
from backend.sam.prompts import prompt_tensors
from finetuner.config import TrainConfig
from finetuner.data.sample import Sample
from finetuner.methods.base import Asked, MethodKind, Views


class DecoderMethod:
    """A copy of the base's mask decoder that learns. `is_half`: its forward pass is bfloat16's."""

    name = "decoder"
    pace = 1.0

    def __init__(self, base: BaseModel, *, precision: str = "auto") -> None:
        self._base, self.is_half = base, _is_half(precision, base.device)
        self._decoder = copy.deepcopy(base.model.mask_decoder).requires_grad_(requires_grad=True).train()
        self._pass = _Pass(base.family, self._decoder)
        self._positions = cells_of(base.image_positions, torch.bfloat16 if self.is_half else torch.float32)

    @property
    def frame(self) -> Frame:
        """The base's."""
        return self._base.frame

    @property
    def sizes(self) -> Mapping[str, Mapping[str, JsonValue] | None]:
        """No adapter; a decoder is as large as its base's."""
        return {"adapter": None}

    def trainable(self) -> Mapping[str, nn.Parameter]:
        """Every weight of the mask decoder."""
        return dict(self._decoder.named_parameters())

    def begin_step(self, number: int, *, done: float) -> None:
        """Nothing here depends on it."""

    def seen(self, sample: Sample, *, embeddings: Views, learns: bool) -> Embedding:  # noqa: ARG002 - one for both
        """What was encoded once, for all methods and versions."""
        return embeddings(sample)

    def carry_back(self, *, of: int = 1) -> None:
        """No gradient goes farther than the decoder."""

    def decode(
        self, embedding: Embedding, prompts: Sequence[Prompt], *, previous: Float[Tensor, "n g g"] | None = None
    ) -> tuple[Float[Tensor, "n 4 g g"], Float[Tensor, "n 4"]]:
        """Logits and predicted IoUs in the order of the prompts; a prompt's masks do not depend on the others."""
        return self.decode_several([Asked(embedding, prompts, previous)])

    def decode_several(self, images: Sequence[Asked]) -> tuple[Float[Tensor, "n 4 g g"], Float[Tensor, "n 4"]]:
        """All prompts of all images in one pass: an image is laid out once, and repeated where several need it."""
        device = self._base.device
        sparse, absent = self._tokens(images)
        counts = torch.tensor([len(image.prompts) for image in images], device=device)
        whose = torch.arange(len(images), device=device).repeat_interleave(counts)
        maps = [[values.to(device) for values in image.embedding.maps] for image in images]
        weights: dict[str, Tensor] = dict(self._decoder.named_parameters())
        if self.is_half:
            # Cast once a pass, gradients come back in float32: sums of the image's size stay in half the memory, which
            # autocast would widen again after each product.
            weights = {name: weight.to(torch.bfloat16) for name, weight in weights.items()}
        logits, scores = functional_call(
            self._pass,
            {f"decoder.{name}": weight for name, weight in weights.items()},
            kwargs={
                "inputs": DecoderInputs(
                    maps=tuple(torch.cat(level) for level in zip(*maps, strict=True)),
                    positions=self._positions,
                    sparse=sparse,
                    dense=self._masks(images),
                    absent=absent,
                    image_of=None if len(images) == 1 else whose,
                )
            },
        )
        return logits.float(), scores.float()

    def predictor(self, *, version: str, base: BaseModel | None = None) -> Predictor:
        """The decoder as it is now, as it would be served; with another `base` for the images, if given."""
        decoder = copy.deepcopy(self._decoder).requires_grad_(requires_grad=False).eval()
        return Predictor(base or self._base, decoder, version=version)

    def weights(self, adapter: Mapping[str, Tensor] = MappingProxyType({})) -> bytes:
        """The decoder as the registry keeps it, beside an adapter's weights."""
        return decoder_bytes(self._decoder, adapter)

    @torch.no_grad()
    def _tokens(self, images: Sequence[Asked]) -> tuple[Float[Tensor, "n k c"], Bool[Tensor, "n k"]]:
        """All prompts' tokens, filled up to the number of the longest, and which of them are filling."""
        kinds: dict[tuple[int, int, bool], list[int]] = defaultdict(list)
        prompts = [(number, prompt) for number, image in enumerate(images) for prompt in image.prompts]
        for place, (number, prompt) in enumerate(prompts):
            # SAM's own filling is a token too, which is attended to: prompts are read beside their own kind.
            kinds[number, len(prompt.clicks), prompt.box is not None].append(place)
        tokens_of = {
            kind: self._tokens_of_kind([prompts[place][1] for place in places], images[kind[0]].embedding)
            for kind, places in kinds.items()
        }
        some = next(iter(tokens_of.values()))
        sparse = some.new_zeros(len(prompts), max(tokens.shape[1] for tokens in tokens_of.values()), some.shape[2])
        absent = torch.ones(sparse.shape[:2], dtype=torch.bool, device=some.device)
        for kind, places in kinds.items():
            rows = torch.tensor(places, device=some.device)
            sparse[rows, : tokens_of[kind].shape[1]] = tokens_of[kind]
            absent[rows, : tokens_of[kind].shape[1]] = False
        return sparse, absent

    @torch.no_grad()
    def _masks(self, images: Sequence[Asked]) -> Float[Tensor, "d c *s"]:
        """Their mask prompts: a single cell for all where no prompt has a mask."""
        encoder = self._base.model.prompt_encoder
        nothing = encoder.no_mask_embed.weight[:, :, None, None]
        if all(image.previous is None for image in images):
            return nothing.detach()
        return torch.cat(
            [
                nothing.expand(len(image.prompts), -1, *image.embedding.features.shape[2:])
                if image.previous is None
                else encoder.mask_embed(image.previous[:, None])
                for image in images
            ]
        )

    def _tokens_of_kind(self, prompts: Sequence[Prompt], seen: Embedding) -> Float[Tensor, "n k c"]:
        """What SAM's prompt encoder makes of clicks and boxes, of one kind."""
        tensors = prompt_tensors(prompts, seen, frame=self.frame).to(self._base.device)
        sparse, _ = self._base.model.prompt_encoder(
            input_points=tensors.points, input_labels=tensors.labels, input_boxes=tensors.boxes, input_masks=None
        )
        tokens: Tensor = sparse[0]
        return tokens


class _Pass(nn.Module):
    """A family's decode as a module, so that it can be called with other numbers in the place of its weights."""

    def __init__(self, family: Family, decoder: MaskDecoder) -> None:
        super().__init__()
        self.family, self.decoder = family, decoder

    def forward(self, inputs: DecoderInputs) -> tuple[Float[Tensor, "n 4 g g"], Float[Tensor, "n 4"]]:
        return self.family.decode(self.decoder, inputs)


def _is_half(precision: str, device: torch.device) -> bool:
    return has_fast_bfloat16(device) if precision == "auto" else precision == "bfloat16"


def _begin(base: BaseModel, config: TrainConfig) -> DecoderMethod:
    return DecoderMethod(base, precision=config.precision)


METHOD = MethodKind(name=DecoderMethod.name, begin=_begin)
