"""Prompt encoder and mask decoder as one ONNX graph, with the inputs and outputs of segment-anything's own export.

What runs that (in a browser, in C++) runs this, with all four masks of each prompt: which of them to take is the
caller's choice, as in samloop it is `policy`'s. A family whose decoder reads finer maps takes them as further inputs,
and one that scores objects gives its score as a further output.
"""

import warnings
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from backend.sam.decoder import cells_of
from backend.sam.family import DecoderInputs, Family, Model

OPSET = 17
EMBEDDING = "image_embeddings"
INPUTS = (EMBEDDING, "point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size")
OUTPUTS = ("masks", "iou_predictions", "low_res_masks")
OBJECT_SCORE = "object_score_logits"
_PADDING = -1.0
_KINDS = 4  # background and object point, top left and bottom right corner of a box


class PromptedDecoder(nn.Module):
    """One prompt of points and corners, and a mask of an earlier round, to four masks."""

    def __init__(self, model: Model, *, family: Family) -> None:
        super().__init__()
        self.family, self.frame = family, family.frame
        # Any: transformers' annotations hold for few of its own attributes.
        self.prompts: Any = model.prompt_encoder
        self.decoder: Any = model.mask_decoder
        self.register_buffer("positions", cells_of(family.positions(model), torch.float32))

    def forward(  # noqa: PLR0913, PLR0917 - the graph's inputs, in segment-anything's order
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        orig_im_size: Tensor,
        *finer: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return (1, 4, h, w) logits, (1, 4) predicted IoUs, (1, 4, g, g) logits on the grid, and (1,) object scores.

        Object scores are there in families that have them, and an absent object's logits are -1024.

        Args:
            image_embeddings: (1, c, s, s), the coarsest map.
            point_coords: (1, n, 2), x and y in px of the canvas.
            point_labels: (1, n) of 1 (object), 0 (background), 2 and 3 (a box's corners), -1 (padding, which a prompt
                needs once; where `pads_boxes` is false, not with a box).
            mask_input: (1, 1, g, g) logits.
            has_mask_input: (1,), 1 where `mask_input` counts, else 0.
            orig_im_size: (2,), the image's height and width in px.
            finer: the further maps that the encoder gives, in its order.
        """
        dense = has_mask_input * self.prompts.mask_embed(mask_input)
        dense = dense + (1 - has_mask_input) * self.prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
        inputs = DecoderInputs(
            maps=(image_embeddings, *finer),
            positions=cast("Tensor", self.positions),
            sparse=self._tokens(point_coords, point_labels),
            dense=dense,
        )
        decoded = self.family.decode(self.decoder, inputs)
        low_res = decoded.hide_absent()
        outputs = (self._enlarge(low_res, orig_im_size), decoded.ious, low_res)
        return outputs if decoded.object_scores is None else (*outputs, decoded.object_scores)

    def _tokens(self, coords: Tensor, labels: Tensor) -> Tensor:
        """As segment-anything: a padding point has no place, only what it is."""
        kinds = labels[..., None]
        placed: Tensor = self.prompts.shared_embedding((coords[:, None] + 0.5) / self.frame.canvas_px)[:, 0]
        placed = placed * (kinds != _PADDING) + self.prompts.not_a_point_embed.weight * (kinds == _PADDING)
        for kind in range(_KINDS):
            placed = placed + self._kind(kind) * (kinds == kind)
        return placed

    def _kind(self, number: int) -> Tensor:
        """What a point of this kind is: of a list of layers, or a row of one as families after SAM have it."""
        points = self.prompts.point_embed
        weight: Tensor = points.weight[number] if isinstance(points, nn.Embedding) else points[number].weight
        return weight

    def _enlarge(self, low_res: Tensor, orig_im_size: Tensor) -> Tensor:
        """To the image's size: where the canvas has padding, by way of the canvas."""
        shown = _cut_padding(low_res, orig_im_size, side=self.frame.canvas_px) if self.frame.keeps_aspect else low_res
        whole = orig_im_size.to(torch.int64)
        # Numbers of the graph, not of this call.
        wanted = cast("list[int]", [whole[0], whole[1]])
        return functional.interpolate(shown, size=wanted, mode="bilinear", align_corners=False)


def pads_boxes(model: Model) -> bool:
    """Whether the prompt encoder puts a padding point behind a box too, as SAM 2's does."""
    anything: Any = model
    with torch.no_grad():
        tokens, _ = anything.prompt_encoder(
            input_points=None, input_labels=None, input_boxes=torch.ones(1, 1, 4), input_masks=None
        )
    return int(tokens.shape[2]) > 2


def name_maps(count: int) -> tuple[str, ...]:
    """Names of an embedding's maps, the coarsest first; of the finer ones the finest has the number 0."""
    return (EMBEDDING, *(f"high_res_feats_{number}" for number in reversed(range(count - 1))))


def name_outputs(model: Model) -> tuple[str, ...]:
    """What the graph of this model gives."""
    return (*OUTPUTS, OBJECT_SCORE) if hasattr(model.mask_decoder, "pred_obj_score_head") else OUTPUTS


def write_decoder(model: Model, path: Path, *, family: Family, maps: tuple[Float[Tensor, "1 _ _ _"], ...]) -> None:
    """Write the graph; nothing of it depends on the number of points or the image's size.

    Args:
        model: in float32 on the CPU.
        path: of the file.
        family: the model's.
        maps: as large as those of an embedding, with any values.
    """
    grid = family.frame.grid
    example: dict[str, Float[Tensor, "..."]] = {
        EMBEDDING: maps[0],
        "point_coords": torch.tensor([[[100.0, 100.0], [0.0, 0.0]]]),
        "point_labels": torch.tensor([[1.0, _PADDING]]),
        "mask_input": torch.zeros(1, 1, grid, grid),
        "has_mask_input": torch.zeros(1),
        "orig_im_size": torch.tensor([768.0, 1024.0]),
        **dict(zip(name_maps(len(maps))[1:], maps[1:], strict=True)),
    }
    varying = {
        "point_coords": {1: "num_points"},
        "point_labels": {1: "num_points"},
        "masks": {2: "height", 3: "width"},
    }
    with warnings.catch_warnings(), torch.no_grad():
        # PyTorch's new exporter needs another package (onnxscript); this one it announces to remove some day.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            PromptedDecoder(model, family=family).eval(),
            tuple(example.values()),
            str(path),
            input_names=list(example),
            output_names=list(name_outputs(model)),
            dynamic_axes=varying,
            opset_version=OPSET,
            dynamo=False,
        )


def _cut_padding(low_res: Tensor, orig_im_size: Tensor, *, side: int) -> Tensor:
    """Enlarged to the canvas, and of that the image, as segment-anything does it."""
    canvas = functional.interpolate(low_res, size=(side, side), mode="bilinear", align_corners=False)
    size = orig_im_size.to(torch.float32)
    on_canvas = torch.floor(size * (side / torch.max(size)) + 0.5).to(torch.int64).clamp(min=1)
    return canvas[..., : on_canvas[0], : on_canvas[1]]
