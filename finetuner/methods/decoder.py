"""The method `decoder`: trains SAM's whole mask decoder with its score head, and freezes both encoders.

An image is therefore encoded once for all epochs and versions, a checkpoint is 16 MB, and projects share one encoder.
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
from backend.sam.family import Decoded, DecoderInputs, Family, MaskDecoder
from backend.sam.frame import Frame
from backend.sam.layers.arithmetic import has_fast_bfloat16
from backend.sam.loading import BaseModel, decoder_bytes
from backend.sam.predictor import Predictor
from backend.sam.prompts import PromptTensors, join_prompts, prompt_tensors
from finetuner.config import TrainConfig
from finetuner.data.sample import Sample
from finetuner.methods.base import Asked, MethodKind, Views


class DecoderMethod:
    """Trains a copy of the base's mask decoder. `is_half`: whether its forward pass runs in bfloat16."""

    name = "decoder"
    pace = 1.0

    def __init__(self, base: BaseModel, *, precision: str = "auto") -> None:
        self._base, self.is_half = base, _is_half(precision, base.device)
        self._decoder = copy.deepcopy(base.model.mask_decoder).requires_grad_(requires_grad=True).train()
        self._pass = _Pass(base.family, self._decoder)
        self._positions = cells_of(base.image_positions, torch.bfloat16 if self.is_half else torch.float32)

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
        """No adapter: a decoder has the shapes of its base's."""
        return {"adapter": None}

    def trainable(self) -> Mapping[str, nn.Parameter]:
        """Every weight of the mask decoder."""
        return dict(self._decoder.named_parameters())

    def begin_step(self, number: int, *, done: float) -> None:
        """Do nothing: no part of this method depends on the step."""

    def embed(self, sample: Sample, *, embeddings: Views, learns: bool) -> Embedding:  # noqa: ARG002 - one for both
        """The base's embedding, from the cache: the encoder does not change."""
        return embeddings(sample)

    def carry_back(self, *, of: int = 1) -> None:
        """Do nothing: no gradient passes the decoder."""

    def decode(
        self, embedding: Embedding, prompts: Sequence[Prompt], *, previous: Float[Tensor, "n g g"] | None = None
    ) -> tuple[Float[Tensor, "n 4 g g"], Float[Tensor, "n 4"]]:
        """As Method.decode."""
        decoded = self.decode_several([Asked(embedding, prompts, previous)])
        return decoded.logits, decoded.ious

    def decode_several(self, images: Sequence[Asked]) -> Decoded:
        """As Method.decode_several, in one pass: prompts on the same image share its features."""
        device = self._base.device
        sparse, absent = self._tokens(images)
        counts = torch.tensor([len(image.prompts) for image in images], device=device)
        whose = torch.arange(len(images), device=device).repeat_interleave(counts)
        maps = [[values.to(device) for values in image.embedding.maps] for image in images]
        weights: dict[str, Tensor] = dict(self._decoder.named_parameters())
        if self.is_half:
            # Cast once per pass; gradients return in float32. Autocast would widen every sum of the image's size to
            # float32 again, at twice the memory.
            weights = {name: weight.to(torch.bfloat16) for name, weight in weights.items()}
        decoded: Decoded = functional_call(
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
        return decoded.to_float32()

    def predictor(self, *, version: str, base: BaseModel | None = None) -> Predictor:
        """A predictor with a copy of the current decoder; `base` (default: the method's own) encodes its images."""
        decoder = copy.deepcopy(self._decoder).requires_grad_(requires_grad=False).eval()
        return Predictor(base or self._base, decoder, version=version)

    def weights(self, adapter: Mapping[str, Tensor] = MappingProxyType({})) -> bytes:
        """The checkpoint's weights, with those of an `adapter`: the bytes of a safetensors file."""
        return decoder_bytes(self._decoder, adapter)

    @torch.no_grad()
    def _tokens(self, images: Sequence[Asked]) -> tuple[Float[Tensor, "n k c"], Bool[Tensor, "n k"]]:
        """The tokens of all prompts, padded to the longest, and a mask that is true at the padding."""
        # SAM pads with a token that the decoder attends to, so prompts are encoded together with their own kind.
        kinds: dict[tuple[int, bool], list[int]] = defaultdict(list)
        encoded: dict[tuple[int, bool], list[PromptTensors]] = defaultdict(list)
        place = 0
        for image in images:
            alike: dict[tuple[int, bool], list[Prompt]] = defaultdict(list)
            for prompt in image.prompts:
                kind = len(prompt.clicks), prompt.box is not None
                kinds[kind].append(place)
                alike[kind].append(prompt)
                place += 1
            for kind, prompts in alike.items():
                encoded[kind].append(prompt_tensors(prompts, image.embedding, frame=self.frame))
        tokens_of = {kind: self._tokens_of_kind(join_prompts(parts)) for kind, parts in encoded.items()}
        some = next(iter(tokens_of.values()))
        sparse = some.new_zeros(place, max(tokens.shape[1] for tokens in tokens_of.values()), some.shape[2])
        absent = torch.ones(sparse.shape[:2], dtype=torch.bool, device=some.device)
        for kind, places in kinds.items():
            rows = torch.tensor(places, device=some.device)
            sparse[rows, : tokens_of[kind].shape[1]] = tokens_of[kind]
            absent[rows, : tokens_of[kind].shape[1]] = False
        return sparse, absent

    @torch.no_grad()
    def _masks(self, images: Sequence[Asked]) -> Float[Tensor, "d c *s"]:
        """The embeddings of the mask prompts; a single cell for all prompts if none has a mask."""
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

    def _tokens_of_kind(self, prompts: PromptTensors) -> Float[Tensor, "n k c"]:
        """The tokens from SAM's prompt encoder, for prompts with the same number of clicks and boxes."""
        tensors = prompts.to(self._base.device)
        sparse, _ = self._base.model.prompt_encoder(
            input_points=tensors.points, input_labels=tensors.labels, input_boxes=tensors.boxes, input_masks=None
        )
        tokens: Tensor = sparse[0]
        return tokens


class _Pass(nn.Module):
    """A family's decode as a module, so that functional_call can replace its weights."""

    def __init__(self, family: Family, decoder: MaskDecoder) -> None:
        super().__init__()
        self.family, self.decoder = family, decoder

    def forward(self, inputs: DecoderInputs) -> Decoded:
        return self.family.decode(self.decoder, inputs)


def _is_half(precision: str, device: torch.device) -> bool:
    return has_fast_bfloat16(device) if precision == "auto" else precision == "bfloat16"


def _begin(base: BaseModel, config: TrainConfig) -> DecoderMethod:
    return DecoderMethod(base, precision=config.precision)


METHOD = MethodKind(name=DecoderMethod.name, begin=_begin)
