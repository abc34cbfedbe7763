"""The semantic head: computes a map for every label of a project from an embedding, without a prompt.

Every class has a token. The tokens pass through SAM's two-way transformer with the image, as the mask decoder's own
tokens do. A token then becomes the weights that sum the up-scaled image to the map of its class. A hyper-network makes
these weights: two layers that all classes share, and a last layer for every class.

Besides, there is a readout: a linear map of the features around every cell, added to the map of every label. SAM's
decoder learns from few images to tell objects from the ground, but needs many to tell kinds of objects apart; it learns
few images by heart. The linear map tells kinds apart from the beginning (finetuner.semantic.readout solves for it).

The head begins with copies of the mask decoder's transformer and up-scaling. If they were shared, every training step
of the head would change the decoder's masks. But we promise that a version answers prompts as measured, so no weight of
the promptable decoder may depend on a head. The copies take 15 MB a project and, in batches only, another decode an
image.
"""

import copy
from collections.abc import Sequence
from typing import Any

import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from backend.registry.metrics import MOST_LABELS
from backend.sam.decoder import cells_of
from backend.sam.family import MaskDecoder
from backend.sam.layers.two_way import ImageCells, two_way
from backend.sam.layers.upscaling import upscale

PREFIX = "semantic."
_KEPT = {"transformer", "upscale_conv1", "upscale_layer_norm", "upscale_conv2"}  # of the decoder
AROUND = 5  # side of the square of cells over which the readout takes the mean: 2 cells in every direction
_SPREAD = 0.02  # of the noise that makes new tokens differ; the numbers of a token are about 0.1


class SemanticHead(nn.Module):
    """Computes a map for the ground and for every label; or a single map, if there is one label.

    A single map is above zero on objects. With several maps, the ground's comes first, and the highest map in a cell is
    the cell's class.

    Args:
        decoder: has the weights that the head begins with.
        ground: the vector that SAM's prompt encoder adds to every cell if there is no mask prompt.
        labels: 1 to 100 different labels, in the order of the maps; None stands for objects without a label.
        seed: of the noise that makes the tokens differ.
    """

    def __init__(
        self, decoder: MaskDecoder, *, ground: Float[Tensor, " c"], labels: Sequence[str | None], seed: int = 0
    ) -> None:
        super().__init__()
        if not 1 <= len(labels) <= MOST_LABELS or len(set(labels)) != len(labels):
            raise ValueError(f"a semantic head has 1 to {MOST_LABELS} labels, all different; {len(labels)} were given")
        self.labels = tuple(labels)
        self.body = copy.deepcopy(decoder)
        for spare in {name for name, _ in self.body.named_children()} - _KEPT:
            delattr(self.body, spare)
        single: Any = decoder.output_hypernetworks_mlps[0]
        self.trunk = nn.ModuleList([copy.deepcopy(single.proj_in), *map(copy.deepcopy, single.layers)])
        self.ground = nn.Parameter(ground.detach().clone())
        maps, token = 1 if len(labels) == 1 else 1 + len(labels), decoder.mask_tokens.weight.detach()[:1]
        noise = torch.randn(maps, token.shape[1], generator=torch.Generator().manual_seed(seed)).to(token.device)
        self.tokens = nn.Parameter(token + _SPREAD * noise)
        self.last = nn.Parameter(single.proj_out.weight.detach().repeat(maps, 1, 1))
        self.last_bias = nn.Parameter(single.proj_out.bias.detach().repeat(maps, 1))
        self.offset = nn.Parameter(token.new_zeros(maps))
        self.readout = nn.Parameter(token.new_zeros(maps, token.shape[1]))
        self.requires_grad_()

    def forward(
        self, image: Float[Tensor, "1 c s s"], positions: Float[Tensor, "1 cells c"]
    ) -> Float[Tensor, "maps g g"]:
        """Return logits in the frame of the grid (g = 4 s); `positions` come from `decoder.cells_of`."""
        dtype = self.tokens.dtype
        cells = cells_of(image, dtype) + self.ground
        queries, keys = two_way(self.body.transformer, self.tokens[None], ImageCells(cells, positions.to(dtype)))
        for layer in self.trunk:
            queries = functional.relu(layer(queries))
        hyper = torch.einsum("ntc,tkc->ntk", queries, self.last) + self.last_bias
        maps = upscale(self.body, keys, hyper)[0] + self.offset[:, None, None]
        kinds = torch.einsum("nchw,tc->nthw", measure_reach(image.to(dtype)), self.readout)
        return maps + functional.interpolate(kinds, maps.shape[-2:], mode="bilinear")[0]


def measure_reach(image: Float[Tensor, "1 c s s"]) -> Float[Tensor, "1 c s s"]:
    """Return for every cell the mean over AROUND x AROUND cells around it, or over fewer cells at the border."""
    return functional.avg_pool2d(image, AROUND, stride=1, padding=AROUND // 2, count_include_pad=False)


def margins(logits: Float[Tensor, "maps rows cols"]) -> Float[Tensor, "labels rows cols"]:
    """Return how far a label's logit is above all other logits. A cell belongs to the label if this is above zero."""
    if len(logits) == 1:
        return logits
    first, second = logits.topk(2, dim=0).values
    highest = torch.where(logits == first, second, first)
    return (logits - highest)[1:]


def probabilities(logits: Float[Tensor, "maps rows cols"]) -> Float[Tensor, "labels rows cols"]:
    """Return the probability of every label in every cell, in [0, 1]."""
    return logits.sigmoid() if len(logits) == 1 else logits.softmax(0)[1:]


def with_semantic(weights: bytes, head: SemanticHead) -> bytes:
    """Add the head's weights to a checkpoint's safetensors, in float32, under the names `semantic.*`."""
    state = safetensors.torch.load(weights)
    own = {f"{PREFIX}{name}": value.detach().cpu().float().contiguous() for name, value in head.state_dict().items()}
    return safetensors.torch.save(state | own, metadata={"format": "pt"})
