"""Images to embeddings, prompts to masks. Nothing here remembers an image: `decode` takes all that it needs."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor
from transformers.models.sam.modeling_sam import SamMaskDecoder

from backend.errors import BadInput
from backend.masks.prompt import Prompt
from backend.sam.canvas import CANVAS_PX, LOGITS_PX, PREPROCESSING, mask_of_logits, pixels_on_canvas, size_on_canvas
from backend.sam.loading import BaseModel
from backend.sam.mask_decoder import decode_all
from backend.sam.mask_prompt import logits_of_mask

__all__ = ["PREPROCESSING", "Embedding", "PredictedMask", "Predictor", "PromptTensors", "encode", "prompt_tensors"]

# The decoder takes about 40 MB a prompt. On a CPU four are a quarter faster a prompt than sixteen, whose maps are large
# enough for malloc to fetch them from the kernel and give them back each time.
_PROMPTS_AT_ONCE = {"cpu": 4}
_PROMPTS_AT_ONCE_ELSEWHERE = 32
PAD_LABEL = -10
_STABILITY_OFFSET = 1.0


@dataclass(frozen=True, slots=True)
class Embedding:
    """What the encoder sees in one image, and the size of that (upright) image in px."""

    features: Float[Tensor, "1 c gh gw"] = field(repr=False)
    height_px: int
    width_px: int


@dataclass(frozen=True, slots=True)
class PredictedMask:
    """One object. `score` in [0, 1]; `low_res_logits` on the canvas, one for 4x4 px of it."""

    mask: Bool[np.ndarray, "h w"] = field(repr=False)
    score: float
    low_res_logits: Float[np.ndarray, "256 256"] = field(repr=False)


@dataclass(frozen=True, slots=True)
class PromptTensors:
    """Prompts as SAM's prompt encoder takes them, in px of the canvas; labels 1 object, 0 background, -10 padding.

    `masks` are logits on the canvas, as the decoder gives them.
    """

    points: Float[Tensor, "1 n p 2"] | None
    labels: Int[Tensor, "1 n p"] | None
    boxes: Float[Tensor, "1 n 4"] | None
    masks: Float[Tensor, "n 1 256 256"] | None

    def to(self, device: torch.device) -> "PromptTensors":
        """Move to a device."""
        return PromptTensors(
            *(None if each is None else each.to(device) for each in (self.points, self.labels, self.boxes, self.masks))
        )


def encode(base: BaseModel, image: Image.Image) -> Embedding:
    """Run the encoder on an upright RGB image. The features are float32, and may be trained with."""
    pixels = pixels_on_canvas(image).to(base.device)
    # Not inference_mode: its tensors may not enter a training step, and these are cached for one.
    with (
        torch.no_grad(),
        torch.autocast(base.device.type, torch.bfloat16, enabled=base.encoder_dtype == torch.bfloat16),
    ):
        features = base.model.vision_encoder(pixels).last_hidden_state
    # Contiguous: whether the encoder works channels last must not be told by what is cached or saved.
    return Embedding(features=features.float().contiguous(), height_px=image.height, width_px=image.width)


def prompt_tensors(prompts: Sequence[Prompt], embedding: Embedding) -> PromptTensors:
    """Bring prompts for one image to SAM's frame; where they differ in clicks, the fewer are padded with label -10.

    SAM has no padding for boxes and masks: either all of the prompts have one or none has.

    Raises:
        BadInput: no prompt, an empty one, some with a box or a mask and some without, or a mask of another size than
            the image.
    """
    if not prompts or any(not prompt.clicks and prompt.box is None and prompt.mask is None for prompt in prompts):
        raise BadInput("a prompt needs at least one click, a box or a mask")
    boxes = [prompt.box for prompt in prompts if prompt.box is not None]
    masks = [prompt.mask for prompt in prompts if prompt.mask is not None]
    for kind, some in (("box", boxes), ("mask", masks)):
        if some and len(some) != len(prompts):
            raise BadInput(f"{len(some)} of {len(prompts)} prompts have a {kind}; decode those apart from the others")
    size_px = embedding.height_px, embedding.width_px
    if odd := [mask.shape for mask in masks if mask.shape != size_px]:
        raise BadInput(f"a mask to refine has {odd[0][1]}x{odd[0][0]} px, and the image {size_px[1]}x{size_px[0]}")
    height, width = size_on_canvas(embedding.height_px, embedding.width_px)
    scale = torch.tensor([width / embedding.width_px, height / embedding.height_px])
    most = max(len(prompt.clicks) for prompt in prompts)
    points, labels = torch.zeros(1, len(prompts), most, 2), torch.full((1, len(prompts), most), PAD_LABEL)
    for row, prompt in enumerate(prompts):
        for column, click in enumerate(prompt.clicks):
            points[0, row, column] = torch.tensor([click.x_px, click.y_px])
            labels[0, row, column] = int(click.is_foreground)
    corners = torch.tensor([[[box.x0_px, box.y0_px, box.x1_px, box.y1_px] for box in boxes]])
    return PromptTensors(
        points=points * scale if most else None,
        labels=labels if most else None,
        boxes=corners * scale.repeat(2) if boxes else None,
        masks=torch.stack([logits_of_mask(mask) for mask in masks])[:, None] if masks else None,
    )


@dataclass(frozen=True, slots=True)
class Predictor:
    """A base's prompt encoder with one decoder. Stateless: any number of threads may decode at once."""

    base: BaseModel
    decoder: SamMaskDecoder = field(repr=False)
    version: str = field(kw_only=True)

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> tuple[PredictedMask, ...]:
        """One mask for each prompt, in their order; what a prompt gets does not depend on its company.

        A single click also gets SAM's single mask: choosing among its three by the raw predicted score is worse on
        real images. The score is the predicted IoU, clamped to [0, 1], times the mask's stability.

        Raises:
            BadInput: an empty prompt.
        """
        size = {"height_px": embedding.height_px, "width_px": embedding.width_px}
        found: dict[int, PredictedMask] = {}
        at_once = _PROMPTS_AT_ONCE.get(self.base.device.type, _PROMPTS_AT_ONCE_ELSEWHERE)
        with torch.inference_mode():
            for indices in _chunks(prompts, at_once=at_once):
                logits, ious = self.four_masks(embedding, prompt_tensors([prompts[i] for i in indices], embedding))
                for index, low, iou in zip(indices, logits[:, 0].cpu(), ious[:, 0].tolist(), strict=True):
                    found[index] = PredictedMask(
                        mask=mask_of_logits(low, **size),
                        score=min(1.0, max(0.0, iou)) * _stability(low, embedding),
                        low_res_logits=low.numpy(),
                    )
        return tuple(found[index] for index in range(len(prompts)))

    def four_masks(
        self, embedding: Embedding, prompts: PromptTensors
    ) -> tuple[Float[Tensor, "n 4 256 256"], Float[Tensor, "n 4"]]:
        """Low-resolution logits and predicted IoUs (raw, may exceed 1) of n prompts: the single mask, then three."""
        moved = prompts.to(self.base.device)
        sparse, dense = self.base.model.prompt_encoder(
            input_points=moved.points,
            input_labels=moved.labels,
            input_boxes=moved.boxes,
            input_masks=moved.masks,
        )
        return decode_all(
            self.decoder,
            image=embedding.features.to(self.base.device),
            positions=self.base.image_positions,
            # Masks alone have no tokens.
            sparse=dense.new_zeros(len(dense), 0, dense.shape[1]) if sparse is None else sparse[0],
            dense=dense[:1] if moved.masks is None else dense,
        )


def _chunks(prompts: Sequence[Prompt], *, at_once: int) -> Iterator[list[int]]:
    """Indices of prompts of one kind, boundedly many: padding is a token too, and would change the masks."""
    kinds: dict[tuple[int, bool, bool], list[int]] = defaultdict(list)
    for index, prompt in enumerate(prompts):
        kinds[len(prompt.clicks), prompt.box is not None, prompt.mask is not None].append(index)
    for indices in kinds.values():
        for first in range(0, len(indices), at_once):
            yield indices[first : first + at_once]


def _stability(logits: Float[Tensor, "256 256"], embedding: Embedding) -> float:
    """IoU of the masks at thresholds +1 and -1 within the image, in [0, 1]; 0 if both are empty.

    segment-anything's `calculate_stability_score`.
    """
    height, width = size_on_canvas(embedding.height_px, embedding.width_px)
    logits_px = CANVAS_PX // LOGITS_PX
    inside = logits[: -(-height // logits_px), : -(-width // logits_px)]
    inner = int((inside > _STABILITY_OFFSET).sum())
    outer = int((inside > -_STABILITY_OFFSET).sum())
    return inner / outer if outer else 0.0
