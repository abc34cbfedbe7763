"""The image encoder as an ONNX graph: one canvas to the maps that the decoder's graph takes.

LoRA is part of the weights by then. Conv-LoRA's routers and experts are in the graph, which chooses an expert by what
it sees, as the served layers do. Layers that know a faster way than plain operations leave it while they are traced.
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
    """Tensor in, tensors out: what transformers' encoders give is an object."""

    def __init__(self, model: Model, *, family: Family) -> None:
        super().__init__()
        self.family = family
        self.encoder: Any = model.vision_encoder

    def forward(self, pixel_values: Tensor) -> Maps:
        """(1, 3, side, side) pixels of the canvas to the maps of an embedding, the coarsest first."""
        return self.family.encode(self.encoder, pixel_values)


def write_encoder(model: Model, path: Path, *, family: Family) -> Maps:
    """Write the graph of a model in float32 on the CPU. Above 2 GB, which ONNX sets, weights lie in files beside it.

    Returns:
        What the encoder sees on a grey canvas: as large as every embedding's maps.
    """
    pixels = torch.zeros(1, 3, family.frame.canvas_px, family.frame.canvas_px)
    encoder = _Encoder(model, family=family).eval()
    with warnings.catch_warnings(), torch.no_grad():
        maps: Maps = encoder(pixels)
        # As in write_decoder; and shapes become constants, which the tracer warns of and which is intended: a canvas
        # has one size.
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
