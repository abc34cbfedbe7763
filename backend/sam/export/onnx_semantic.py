"""Writes the semantic head as an ONNX graph, which turns an embedding into a map for every label."""

import warnings
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from backend.sam.decoder import cells_of
from backend.sam.export.onnx_decoder import EMBEDDING, OPSET
from backend.sam.loading import BaseModel
from backend.sam.semantic.head import SemanticHead

SEMANTIC_OUTPUT = "semantic_logits"


class _Head(nn.Module):
    """`SemanticHead` with the positions, which are always the same."""

    def __init__(self, head: SemanticHead, positions: Tensor) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("positions", cells_of(positions, torch.float32))

    def forward(self, image_embeddings: Tensor) -> Tensor:
        """Turn (1, c, s, s) into (1, maps, g, g) logits on the grid, in the order of `SemanticHead`."""
        maps: Tensor = self.head(image_embeddings, cast("Tensor", self.positions))
        return maps[None]


def write_semantic(base: BaseModel, head: SemanticHead, path: Path) -> None:
    """Write the graph of a head that belongs to this base. Both must be in float32 on the CPU."""
    positions = base.image_positions
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # as in write_decoder
        torch.onnx.export(
            _Head(head, positions).eval(),
            (torch.zeros_like(positions),),
            str(path),
            input_names=[EMBEDDING],
            output_names=[SEMANTIC_OUTPUT],
            opset_version=OPSET,
            dynamo=False,
        )
