"""Which images look like those that a project has learnt from, by what the base's encoder sees in them.

A training moves what one click means, on every image: after nuclei a click on a photograph takes in a part of the
object. What the encoder sees tells both kinds of image apart without another model. An image's mean feature has a
direction; images of one kind have nearly the same, and photographs of everyday things another.
"""

import math
from dataclasses import dataclass, field

import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from backend.sam.embeddings.embedding import Embedding
from backend.sam.frame import Frame

PREFIX = "domain."  # what names of its tensors in a checkpoint begin with


@dataclass(frozen=True, slots=True)
class Domain:
    """The images that look like those learnt from.

    An image lies outside where it is farther from all that was learnt from than these are from one another, and nearer
    to something else. The second half keeps a project whole that has only seen a few kinds of its own images.

    Attributes:
        learnt: directions (`direction_of`) of images that were learnt from.
        others: directions of images of other things.
        radius: how far from the nearest of `learnt` an image lies inside in any case; 1 - cosine, in [0, 2].
    """

    learnt: Float[Tensor, "n c"] = field(repr=False)
    others: Float[Tensor, "m c"] = field(repr=False)
    radius: float

    def holds(self, direction: Float[Tensor, " c"]) -> bool:
        """Whether an image with this direction lies inside."""
        from_learnt, from_others = (float(distances(direction[None], to).min()) for to in (self.learnt, self.others))
        return from_learnt <= max(self.radius, from_others)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it, by name; the radius stands in the manifest."""
        return {f"{PREFIX}learnt": self.learnt, f"{PREFIX}others": self.others}


def direction_of(embedding: Embedding, *, frame: Frame) -> Float[Tensor, " c"]:
    """The mean of the features over the cells that the image reaches, at unit length; float32 on the CPU."""
    features = embedding.features[0]
    rows, columns = (
        math.ceil(reached * side / frame.grid)
        for reached, side in zip(
            frame.grid_reached(embedding.height_px, embedding.width_px), features.shape[1:], strict=True
        )
    )
    mean = features[:, :rows, :columns].mean((1, 2), dtype=torch.float32)
    return functional.normalize(mean.cpu(), dim=0)


def distances(some: Float[Tensor, "n c"], others: Float[Tensor, "m c"]) -> Float[Tensor, "n m"]:
    """1 - cosine between directions, in [0, 2]."""
    return 1 - some @ others.T


def with_domain(weights: bytes, domain: Domain) -> bytes:
    """A checkpoint's safetensors with the domain's directions beside what they hold: float32, names `domain.*`."""
    own = {name: values.contiguous() for name, values in domain.tensors().items()}
    return safetensors.torch.save(safetensors.torch.load(weights) | own, metadata={"format": "pt"})
