"""The image encoder as an ONNX graph: one canvas to the embedding that the decoder's graph takes.

LoRA is part of the weights by then. Conv-LoRA's routers and experts are in the graph, which chooses an expert by what
it sees, as the served layers do. Layers that know a faster way than plain operations leave it while they are traced.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import SamModel

from backend.sam.export.onnx_decoder import OPSET
from backend.sam.frame import Frame

PIXELS, EMBEDDING = "pixel_values", "image_embeddings"


class _Encoder(nn.Module):
    """Tensor in, tensor out: what transformers' encoders give is an object."""

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        self.encoder: Any = model.vision_encoder

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(1, 3, side, side) pixels of the canvas to (1, c, rows, columns)."""
        features: Tensor = self.encoder(pixel_values).last_hidden_state
        return features


def write_encoder(model: SamModel, path: Path, *, frame: Frame) -> None:
    """Write the graph of a model in float32 on the CPU. Above 2 GB, which ONNX sets, weights lie in files beside it."""
    with warnings.catch_warnings(), torch.no_grad():
        # As in write_decoder; and shapes become constants, which the tracer warns of and which is intended: a canvas
        # has one size.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Encoder(model).eval(),
            (torch.zeros(1, 3, frame.canvas_px, frame.canvas_px),),
            str(path),
            input_names=[PIXELS],
            output_names=[EMBEDDING],
            opset_version=OPSET,
            dynamo=False,
        )
