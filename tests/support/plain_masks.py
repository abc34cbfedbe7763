"""Compares served masks with transformers' own forward pass and post-processing, on an image of 90 x 60 px."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import SamHQModel

from backend.masks.prompt import Box, Click, Prompt
from backend.sam.embeddings.embedding import Embedding
from backend.sam.frame import Frame
from backend.sam.predictor import Predictor
from backend.sam.prompts import PromptTensors, prompt_tensors

WIDTH, HEIGHT = 90, 60
IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)).resize((WIDTH, HEIGHT))
_DISC = np.hypot(*np.mgrid[-30:30, -45:45]) < 20
PROMPTS = {
    "a click": Prompt(clicks=(Click(40.0, 30.0),)),
    "clicks": Prompt(clicks=(Click(40.0, 30.0), Click(10.0, 50.0), Click(80.0, 5.0, is_foreground=False))),
    "a box": Prompt(box=Box(10.0, 8.0, 70.0, 50.0)),
    "a box and a click": Prompt(clicks=(Click(40.0, 30.0),), box=Box(10.0, 8.0, 70.0, 50.0)),
    "a mask": Prompt(box=Box(20.0, 10.0, 70.0, 50.0), mask=_DISC),
}
_ZERO = 2e-3  # rounding decides the sign of logits nearer to zero


def answers(plain: Any, inputs: PromptTensors, *, multimask: bool, **seen: object) -> tuple[Tensor, Tensor]:
    """Transformers' masks (n, 1 or 3, g, g) and predicted IoUs.

    Args:
        plain: transformers' model.
        inputs: the prompts.
        multimask: three readings, or the single mask.
        seen: what its encoder saw, by the names of its `forward`.
    """
    with torch.no_grad():
        out = plain(
            input_points=inputs.points,
            input_labels=inputs.labels,
            input_boxes=inputs.boxes,
            input_masks=inputs.masks,
            multimask_output=multimask,
            **seen,
        )
    return out.pred_masks[0], out.iou_scores[0]


def score_objects(plain: Any, inputs: PromptTensors, **seen: object) -> Tensor | None:
    """Transformers' object scores, one a prompt; None where the model has none."""
    with torch.no_grad():
        out = plain(
            input_points=inputs.points,
            input_labels=inputs.labels,
            input_boxes=inputs.boxes,
            input_masks=inputs.masks,
            **seen,
        )
    scores: Tensor | None = getattr(out, "object_score_logits", None)
    return None if scores is None else scores.flatten()


def mend_sam_hq(model: Any) -> SamHQModel:
    """Hand the decoder's first enlarging convolution the cells that the transformer returned.

    transformers 5.23 enlarges the image as it was before the decoder's transformer, with rows and columns exchanged;
    the paper's code enlarges what the transformer made of it, as SAM's does. Weights were trained with that.
    """
    decoder, returned = model.mask_decoder, []

    def cells(_: object, taken: tuple[Tensor]) -> Tensor:
        keys: Tensor = returned.pop()
        return keys.flatten(0, 1).mT.reshape(taken[0].shape)

    decoder.transformer.register_forward_hook(lambda _module, _inputs, out: returned.append(out[1]))
    decoder.upscale_conv1.register_forward_pre_hook(cells)
    return model


def assert_masks_of_transformers(
    served: Predictor,
    embedding: Embedding,
    plain: Any,
    *,
    prompt: Prompt,
    sorts: bool = False,
    **seen: object,
) -> None:
    """Compare all four masks and the image's mask, whose pixels may differ where a logit is zero but for rounding.

    Args:
        served: ours.
        embedding: ours.
        plain: transformers' model.
        prompt: what both are asked.
        sorts: whether transformers sorts the three readings of this family by their predicted IoUs.
        seen: what the model's encoder saw, by the names of its `forward`.
    """
    frame = served.base.frame
    inputs = prompt_tensors([prompt], embedding, frame=frame)
    logits, ious = served.four_masks(embedding, inputs)
    if sorts:
        order = 1 + ious[0, 1:].argsort(descending=True)
        logits, ious = (torch.cat([values[:, :1], values[:, order]], dim=1) for values in (logits, ious))
    single, single_iou = answers(plain, inputs, multimask=False, **seen)
    three, three_ious = answers(plain, inputs, multimask=True, **seen)
    torch.testing.assert_close(logits, torch.cat([single, three], 1), atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(ious, torch.cat([single_iou, three_ious], 1), atol=1e-4, rtol=1e-4)
    ((ours,),) = served.candidates(embedding, [prompt], which=lambda _: (0,))
    scores = score_objects(plain, inputs, **seen)
    assert ours.object_score == (None if scores is None else pytest.approx(scores.item(), abs=1e-3, rel=1e-4))
    theirs = enlarge_plainly(single, frame=frame, height_px=embedding.height_px, width_px=embedding.width_px)
    mask, doubtful = served.mask_of(ours, embedding).mask, (theirs.abs() < _ZERO).numpy()
    assert np.array_equal(mask | doubtful, (theirs > 0).numpy() | doubtful)
    assert doubtful.mean() < 0.05  # more would make the comparison meaningless


def enlarge_plainly(logits: Tensor, *, frame: Frame, height_px: int, width_px: int) -> Tensor:
    """`post_process_masks` of the families' processors, before the threshold: (h, w) of the first mask."""
    size = (height_px, width_px)
    if frame.keeps_aspect:
        canvas = functional.interpolate(logits, (frame.canvas_px, frame.canvas_px), mode="bilinear")
        height, width = frame.size_on_canvas(height_px, width_px)
        logits = canvas[..., :height, :width]
    return functional.interpolate(logits, size, mode="bilinear", align_corners=False)[0, 0]
