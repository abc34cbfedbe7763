"""The semantic head as an ONNX graph: an embedding to a map for each label, without a prompt."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.sam.export.onnx_decoder import OPSET
from backend.sam.export.onnx_encoder import EMBEDDING
from backend.sam.loading import BaseModel
from backend.sam.semantic.head import SemanticHead, measure_reach

SEMANTIC_OUTPUT = "semantic_logits"


class _Head(nn.Module):
    """`SemanticHead` by transformers' own layers, all of them plain operations."""

    def __init__(self, head: SemanticHead, positions: Tensor) -> None:
        super().__init__()
        self.head = head
        self.body: Any = head.body  # transformers' annotations hold for few of its own attributes
        self.register_buffer("positions", positions.detach().clone())

    def forward(self, image_embeddings: Tensor) -> Tensor:
        """(1, c, s, s) to (1, maps, g, g) logits on the grid, in the order of `SemanticHead`."""
        head, body = self.head, self.body
        queries, keys = body.transformer(
            point_embeddings=head.tokens[None, None],
            image_embeddings=image_embeddings + head.ground[None, :, None, None],
            image_positional_embeddings=self.positions,
            attention_similarity=None,
        )
        wide = keys[:, 0].transpose(1, 2).reshape(image_embeddings.shape)
        wide = functional.gelu(body.upscale_layer_norm(body.upscale_conv1(wide)))
        wide = functional.gelu(body.upscale_conv2(wide))
        tokens = queries[0, 0]
        for layer in head.trunk:
            tokens = functional.relu(layer(tokens))
        hyper = (head.last @ tokens[..., None])[..., 0] + head.last_bias
        maps = torch.einsum("tk,nkhw->nthw", hyper, wide) + head.offset[:, None, None]
        kinds = torch.einsum("nchw,tc->nthw", measure_reach(image_embeddings), head.readout)
        return maps + functional.interpolate(kinds, scale_factor=4.0, mode="bilinear")


def write_semantic(base: BaseModel, head: SemanticHead, path: Path) -> None:
    """Write the graph of a head that belongs to this base; both in float32 on the CPU."""
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
