"""Prompt encoder and mask decoder as one ONNX graph, with the inputs and outputs of segment-anything's own export.

What runs that (in a browser, in C++) runs this, with all four masks of each prompt: which of them to take is the
caller's choice, as in samloop it is `policy`'s.
"""

import warnings
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import SamModel

from backend.sam.frame import Frame

OPSET = 17
INPUTS = ("image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size")
OUTPUTS = ("masks", "iou_predictions", "low_res_masks")
_PADDING = -1.0
_KINDS = 4  # background and object point, top left and bottom right corner of a box


class PromptedDecoder(nn.Module):
    """One prompt of points and corners, and a mask of an earlier round, to four masks."""

    def __init__(self, model: SamModel, *, frame: Frame) -> None:
        super().__init__()
        self.frame = frame
        # Any: transformers' annotations hold for few of its own attributes.
        self.prompts: Any = model.prompt_encoder
        self.decoder: Any = model.mask_decoder
        positions: Tensor = model.get_image_wide_positional_embeddings()  # type: ignore[no-untyped-call]
        self.register_buffer("positions", positions.detach().clone())

    def forward(  # noqa: PLR0913, PLR0917 - the graph's inputs, in segment-anything's order
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        orig_im_size: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return (1, 4, h, w) logits, (1, 4) predicted IoUs and (1, 4, g, g) logits on the grid.

        Args:
            image_embeddings: (1, c, 64, 64).
            point_coords: (1, n, 2), x and y in px of the canvas.
            point_labels: (1, n) of 1 (object), 0 (background), 2 and 3 (a box's corners), -1 (padding, which a prompt
                without a box needs once).
            mask_input: (1, 1, g, g) logits.
            has_mask_input: (1,), 1 where `mask_input` counts, else 0.
            orig_im_size: (2,), the image's height and width in px.
        """
        tokens = self._tokens(point_coords, point_labels)
        dense = has_mask_input * self.prompts.mask_embed(mask_input)
        dense = dense + (1 - has_mask_input) * self.prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
        low_res, ious = self._decode(image_embeddings + dense, tokens)
        return _enlarge(low_res, orig_im_size, side=self.frame.canvas_px), ious, low_res

    def _tokens(self, coords: Tensor, labels: Tensor) -> Tensor:
        """As segment-anything: a padding point has no place, only what it is."""
        kinds = labels[..., None]
        placed: Tensor = self.prompts.shared_embedding((coords[:, None] + 0.5) / self.frame.canvas_px)[:, 0]
        placed = placed * (kinds != _PADDING) + self.prompts.not_a_point_embed.weight * (kinds == _PADDING)
        for kind in range(_KINDS):
            placed = placed + self.prompts.point_embed[kind].weight * (kinds == kind)
        return placed

    def _decode(self, cells: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """As transformers' decoder, which gives one mask or three; here all four."""
        decoder = self.decoder
        asked = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])[None]
        queries, keys = decoder.transformer(
            point_embeddings=torch.cat([asked, tokens], dim=1)[:, None],
            image_embeddings=cells,
            image_positional_embeddings=self.positions,
            attention_similarity=None,
        )
        wide = keys[:, 0].transpose(1, 2).reshape(cells.shape)
        wide = functional.gelu(decoder.upscale_layer_norm(decoder.upscale_conv1(wide)))
        wide = functional.gelu(decoder.upscale_conv2(wide))
        weights = [mlp(queries[:, 0, 1 + number]) for number, mlp in enumerate(decoder.output_hypernetworks_mlps)]
        low_res = (torch.stack(weights, dim=1) @ wide.flatten(2)).reshape(
            1, len(weights), self.frame.grid, self.frame.grid
        )
        return low_res, decoder.iou_prediction_head(queries[:, 0, 0])


def write_decoder(model: SamModel, path: Path, *, frame: Frame) -> None:
    """Write the graph; nothing of it depends on the number of points or the image's size."""
    sizes: Any = model.config.prompt_encoder_config  # transformers types it as anything
    width, side = sizes.hidden_size, sizes.image_embedding_size
    example: dict[str, Float[Tensor, "..."]] = {
        "image_embeddings": torch.zeros(1, width, side, side),
        "point_coords": torch.tensor([[[100.0, 100.0], [0.0, 0.0]]]),
        "point_labels": torch.tensor([[1.0, _PADDING]]),
        "mask_input": torch.zeros(1, 1, frame.grid, frame.grid),
        "has_mask_input": torch.zeros(1),
        "orig_im_size": torch.tensor([768.0, 1024.0]),
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
            PromptedDecoder(model, frame=frame).eval(),
            tuple(example[name] for name in INPUTS),
            str(path),
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes=varying,
            opset_version=OPSET,
            dynamo=False,
        )


def _enlarge(low_res: Tensor, orig_im_size: Tensor, *, side: int) -> Tensor:
    """In segment-anything's two steps: to the canvas, cut to the image, to the image's size."""
    canvas = functional.interpolate(low_res, size=(side, side), mode="bilinear", align_corners=False)
    size = orig_im_size.to(torch.float32)
    on_canvas = torch.floor(size * (side / torch.max(size)) + 0.5).to(torch.int64).clamp(min=1)
    inside = canvas[..., : on_canvas[0], : on_canvas[1]]
    whole = size.to(torch.int64)
    # Numbers of the graph, not of this call.
    wanted = cast("list[int]", [whole[0], whole[1]])
    return functional.interpolate(inside, size=wanted, mode="bilinear", align_corners=False)
