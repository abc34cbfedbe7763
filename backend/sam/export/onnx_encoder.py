"""Writes the image encoder as an ONNX graph, which turns a canvas into the maps that the decoder's graph takes.

LoRA is part of the weights here. Conv-LoRA's routers and experts are part of the graph, which chooses an expert by the
image, as the served layers do. Layers with a faster way than plain operations use plain operations in a trace.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backend.sam.export.onnx_decoder import OPSET, name_maps
from backend.sam.family import Family, Maps, Model

PIXELS = "pixel_values"


class _Encoder(nn.Module):
    """Takes a tensor and returns tensors; transformers' encoders return an object."""

    def __init__(self, model: Model, *, family: Family) -> None:
        super().__init__()
        self.family = family
        self.encoder: Any = model.vision_encoder

    def forward(self, pixel_values: Tensor) -> Maps:
        """Turn (1, 3, side, side) pixels of the canvas into the maps of an embedding, the coarsest first."""
        return self.family.encode(self.encoder, pixel_values)


def write_encoder(model: Model, path: Path, *, family: Family) -> Maps:
    """Write the graph of a model in float32 on the CPU. Above ONNX's limit of 2 GB, weights go into files beside it.

    Returns:
        The maps of a grey canvas, which have the size of any embedding's maps.
    """
    pixels = torch.zeros(1, 3, family.frame.canvas_px, family.frame.canvas_px)
    encoder = _Encoder(model, family=family).eval()
    with warnings.catch_warnings(), torch.no_grad():
        maps: Maps = encoder(pixels)
        # As in write_decoder. The tracer also warns that shapes become constants, which is right: a canvas has one
        # size.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            encoder,
            (pixels,),
            str(path),
            input_names=[PIXELS],
            output_names=list(name_maps(len(maps))),
            opset_version=OPSET,
            dynamo=False,
        )
    return maps
