"""The method `decoder`: all of SAM's mask decoder moves, its score head too; both encoders stay as they are.

So an image is encoded once for all epochs and versions, a checkpoint is 16 MB, and projects share one encoder.
"""

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from backend.masks.prompt import Prompt
from backend.sam.arithmetic import has_fast_bfloat16
from backend.sam.loading import BaseModel, decoder_bytes
from backend.sam.mask_decoder import cells_of, decode_all
from backend.sam.predictor import Embedding, Predictor, prompt_tensors
from finetuner.dataset import Sample
from finetuner.methods.base import Views


class DecoderMethod:
    """A copy of the base's mask decoder that learns. `is_half`: its forward pass is bfloat16's."""

    name = "decoder"

    def __init__(self, base: BaseModel, *, precision: str = "auto") -> None:
        self._base, self.is_half = base, _is_half(precision, base.device)
        self._decoder = copy.deepcopy(base.model.mask_decoder).requires_grad_(requires_grad=True)
        self._positions = cells_of(base.image_positions, torch.float32)

    @property
    def sizes(self) -> Mapping[str, Any]:
        """There is nothing to tell: a decoder is as large as its base's."""
        return {}

    def trainable(self) -> Mapping[str, nn.Parameter]:
        """Every weight of the mask decoder."""
        return dict(self._decoder.named_parameters())

    def begin_step(self, number: int, *, done: float) -> None:
        """Nothing here depends on it."""

    def seen(self, sample: Sample, *, embeddings: Views, learns: bool) -> Embedding:  # noqa: ARG002 - one for both
        """What was encoded once, for all methods and versions."""
        return embeddings(sample)

    def carry_back(self) -> None:
        """No gradient goes farther than the decoder."""

    def decode(
        self, embedding: Embedding, prompts: Sequence[Prompt], *, previous: Float[Tensor, "n g g"] | None = None
    ) -> tuple[Float[Tensor, "n 4 g g"], Float[Tensor, "n 4"]]:
        """Logits and predicted IoUs in the order of the prompts; what one gets does not depend on the others."""
        kinds: dict[tuple[int, bool], list[int]] = defaultdict(list)
        for index, prompt in enumerate(prompts):
            # Padding is a token too: prompts are decoded beside their own kind.
            kinds[len(prompt.clicks), prompt.box is not None].append(index)
        logits, scores = zip(
            *(
                self._decode_kind(
                    embedding, [prompts[i] for i in kind], previous=None if previous is None else previous[kind]
                )
                for kind in kinds.values()
            ),
            strict=True,
        )
        back = torch.tensor([index for kind in kinds.values() for index in kind]).argsort()
        return torch.cat(logits)[back], torch.cat(scores)[back]

    def predictor(self, *, version: str, base: BaseModel | None = None) -> Predictor:
        """The decoder as it is now, as it would be served; with another `base` for the images, if one is given."""
        decoder = copy.deepcopy(self._decoder).requires_grad_(requires_grad=False).eval()
        return Predictor(base or self._base, decoder, version=version)

    def weights(self, adapter: Mapping[str, Tensor] = MappingProxyType({})) -> bytes:
        """The decoder as the registry keeps it, beside an adapter's weights."""
        return decoder_bytes(self._decoder, adapter)

    def _decode_kind(
        self, embedding: Embedding, prompts: Sequence[Prompt], *, previous: Float[Tensor, "n g g"] | None
    ) -> tuple[Float[Tensor, "n 4 g g"], Float[Tensor, "n 4"]]:
        base, tensors = self._base, prompt_tensors(prompts, embedding).to(self._base.device)
        with torch.no_grad():
            sparse, dense = base.model.prompt_encoder(
                input_points=tensors.points,
                input_labels=tensors.labels,
                input_boxes=tensors.boxes,
                input_masks=None if previous is None else previous[:, None],
            )
        # Entered anew for each decode: autocast keeps its casts of the weights until it is left, and they move.
        with torch.autocast(base.device.type, torch.bfloat16, enabled=self.is_half):
            logits, scores = decode_all(
                self._decoder,
                image=embedding.features.to(base.device),
                positions=self._positions,
                sparse=sparse[0],
                dense=dense[:1, :, :1, :1] if previous is None else dense,
            )
        return logits.float(), scores.float()


def _is_half(precision: str, device: torch.device) -> bool:
    return has_fast_bfloat16(device) if precision == "auto" else precision == "bfloat16"
