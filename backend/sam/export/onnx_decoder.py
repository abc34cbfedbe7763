"""Writes the prompt encoder and the mask decoder as one ONNX graph, with segment-anything's own inputs and outputs.

Programs that run segment-anything's export (in a browser, in C++) run this graph too. It gives all four masks of a
prompt; the caller chooses one of them, as `policy` does in samloop. If a family's decoder reads finer maps, they are
further inputs; if it scores objects, the score is a further output.
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
    """Decodes one prompt of points and corners, and an earlier mask, to four masks."""

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

        Only families with an object score return it; in these, the logits of an absent object are -1024.

        Args:
            image_embeddings: (1, c, s, s), the coarsest map.
            point_coords: (1, n, 2), x and y in px of the canvas.
            point_labels: (1, n) of 1 (object), 0 (background), 2 and 3 (a box's corners), -1 (padding). A prompt needs
                one padding point; not with a box, if `pads_boxes` is false.
            mask_input: (1, 1, g, g) logits.
            has_mask_input: (1,), 1 if `mask_input` counts, else 0.
            orig_im_size: (2,), the image's height and width in px.
            finer: the encoder's other maps, in its order.
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
        """Encode points as segment-anything does: a padding point has a kind, but no place."""
        kinds = labels[..., None]
        placed: Tensor = self.prompts.shared_embedding((coords[:, None] + 0.5) / self.frame.canvas_px)[:, 0]
        placed = placed * (kinds != _PADDING) + self.prompts.not_a_point_embed.weight * (kinds == _PADDING)
        for kind in range(_KINDS):
            placed = placed + self._kind(kind) * (kinds == kind)
        return placed

    def _kind(self, number: int) -> Tensor:
        """The vector of a kind of point: a layer of its own in SAM, a row of one layer in later families."""
        points = self.prompts.point_embed
        weight: Tensor = points.weight[number] if isinstance(points, nn.Embedding) else points[number].weight
        return weight

    def _enlarge(self, low_res: Tensor, orig_im_size: Tensor) -> Tensor:
        """Enlarge logits to the image; if the canvas has padding, by way of the canvas."""
        shown = _cut_padding(low_res, orig_im_size, side=self.frame.canvas_px) if self.frame.keeps_aspect else low_res
        whole = orig_im_size.to(torch.int64)
        # Tensors of the graph, not numbers of this call.
        wanted = cast("list[int]", [whole[0], whole[1]])
        return functional.interpolate(shown, size=wanted, mode="bilinear", align_corners=False)


def pads_boxes(model: Model) -> bool:
    """Return whether the prompt encoder adds a padding point to a box too, as SAM 2's does."""
    anything: Any = model
    with torch.no_grad():
        tokens, _ = anything.prompt_encoder(
            input_points=None, input_labels=None, input_boxes=torch.ones(1, 1, 4), input_masks=None
        )
    return int(tokens.shape[2]) > 2


def name_maps(count: int) -> tuple[str, ...]:
    """Return the names of an embedding's maps, the coarsest first. Of the finer maps, the finest has the number 0."""
    return (EMBEDDING, *(f"high_res_feats_{number}" for number in reversed(range(count - 1))))


def name_outputs(family: Family) -> tuple[str, ...]:
    """Return the names of the outputs of the graph of this family's models."""
    return (*OUTPUTS, OBJECT_SCORE) if family.scores_objects else OUTPUTS


def write_decoder(model: Model, path: Path, *, family: Family, maps: tuple[Float[Tensor, "1 _ _ _"], ...]) -> None:
    """Write the graph, for any number of points and any size of the image.

    Args:
        model: in float32 on the CPU.
        path: of the file.
        family: the model's family.
        maps: of the size of an embedding's maps, with any values.
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
        # PyTorch's new exporter needs another package (onnxscript). PyTorch warns that it will remove this exporter.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            PromptedDecoder(model, family=family).eval(),
            tuple(example.values()),
            str(path),
            input_names=list(example),
            output_names=list(name_outputs(family)),
            dynamic_axes=varying,
            opset_version=OPSET,
            dynamo=False,
        )


def _cut_padding(low_res: Tensor, orig_im_size: Tensor, *, side: int) -> Tensor:
    """Enlarge logits to the canvas and cut out the image, as segment-anything does."""
    canvas = functional.interpolate(low_res, size=(side, side), mode="bilinear", align_corners=False)
    size = orig_im_size.to(torch.float32)
    on_canvas = torch.floor(size * (side / torch.max(size)) + 0.5).to(torch.int64).clamp(min=1)
    return canvas[..., : on_canvas[0], : on_canvas[1]]
