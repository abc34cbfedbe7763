"""The semantic head: a map for every label of a project from an embedding alone, without a prompt.

A token for each class goes through SAM's two-way transformer with the image, as the mask decoder's own tokens do with a
prompt's, and becomes the weights by which the up-scaled image is summed to that class's map (a hyper-network: two
layers that all classes share, and a last layer of its own for every class).

Beside it stands a readout: a linear map of what the encoder saw around each cell, added to every label's map. SAM's
decoder tells an object from the ground with few images, and kinds of objects apart with many; of few images it learns
by heart. The linear map tells kinds apart from the beginning (finetuner.semantic.readout solves for it).

It has a transformer and an up-scaling of its own, copied from the mask decoder at first. Sharing those would make every
step of either pull at the other's masks: what is promised of a version is that prompts are obeyed as measured, so not
one weight of the promptable decoder may depend on whether a head was trained beside it. It costs 15 MB a project and,
in batches alone, one more decode an image.
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
from backend.sam.decoder import cells_of, two_way, upscale
from backend.sam.family import MaskDecoder

PREFIX = "semantic."
_KEPT = {"transformer", "upscale_conv1", "upscale_layer_norm", "upscale_conv2"}  # of the decoder
AROUND = 5  # cells of the embedding, either way 2, that the readout takes the mean of
_SPREAD = 0.02  # of the noise that tells new tokens apart: their own is about 0.1


class SemanticHead(nn.Module):
    """Maps of the ground and of each label, or of the one label alone.

    `labels` are in the order of the maps; a label None stands for objects that carry none. With one label there is one
    map, above zero where the object is; with more, the ground's comes first, and the highest map of a cell is its
    class.

    Args:
        decoder: whose weights it begins with.
        ground: what SAM's prompt encoder adds to every cell where there is no mask prompt.
        labels: 1 to 100, all different.
        seed: of the noise that tells the tokens apart.
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
        """Logits in the frame of the grid, g = 4 s; `positions` as `decoder.cells_of` gives them."""
        dtype = self.tokens.dtype
        cells = cells_of(image, dtype) + self.ground
        queries, keys = two_way(self.body, self.tokens[None], cells, positions.to(dtype))
        for layer in self.trunk:
            queries = functional.relu(layer(queries))
        hyper = torch.einsum("ntc,tkc->ntk", queries, self.last) + self.last_bias
        maps = upscale(self.body, keys, hyper, side=image.shape[-1])[0] + self.offset[:, None, None]
        kinds = torch.einsum("nchw,tc->nthw", measure_reach(image.to(dtype)), self.readout)
        return maps + functional.interpolate(kinds, maps.shape[-2:], mode="bilinear")[0]


def measure_reach(image: Float[Tensor, "1 c s s"]) -> Float[Tensor, "1 c s s"]:
    """For every cell the mean of the AROUND x AROUND cells around it, of fewer at the border."""
    return functional.avg_pool2d(image, AROUND, stride=1, padding=AROUND // 2, count_include_pad=False)


def margins(logits: Float[Tensor, "maps rows cols"]) -> Float[Tensor, "labels rows cols"]:
    """By how much each label's logit is above all others': a cell is the label's where this is above zero."""
    if len(logits) == 1:
        return logits
    first, second = logits.topk(2, dim=0).values
    highest = torch.where(logits == first, second, first)
    return (logits - highest)[1:]


def probabilities(logits: Float[Tensor, "maps rows cols"]) -> Float[Tensor, "labels rows cols"]:
    """Of each label in each cell, in [0, 1]."""
    return logits.sigmoid() if len(logits) == 1 else logits.softmax(0)[1:]


def with_semantic(weights: bytes, head: SemanticHead) -> bytes:
    """A checkpoint's safetensors with the head's weights beside what they hold: float32, names `semantic.*`."""
    state = safetensors.torch.load(weights)
    own = {f"{PREFIX}{name}": value.detach().cpu().float().contiguous() for name, value in head.state_dict().items()}
    return safetensors.torch.save(state | own, metadata={"format": "pt"})
