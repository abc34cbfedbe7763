"""Tells images like those that a project has learnt from, from other images, by the features of the base's encoder.

A training changes the meaning of a click on every image: after a training on nuclei, a click on a photograph selects
only a part of the object. The encoder's features tell the two kinds of image apart without another model: the mean
feature has nearly the same direction for images of one kind, and another direction for photographs of everyday things.
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

PREFIX = "domain."  # of the names of its tensors in a checkpoint
# Times as near. With 1, the base would answer two of the forty images of other nuclei in docs/results.md.
_CLEARLY = 1.25


@dataclass(frozen=True, slots=True)
class Domain:
    """The images that look like those learnt from.

    An image lies outside if it is farther from all learnt images than these are from one another, and also clearly
    nearer to an image of something else. The second condition helps a project that has seen only a few kinds of its own
    images.

    Attributes:
        learnt: directions (`direction_of`) of the images learnt from.
        others: directions of images of other things.
        radius: an image within this distance of the nearest learnt image always lies inside; 1 - cosine, in [0, 2].
    """

    learnt: Float[Tensor, "n c"] = field(repr=False)
    others: Float[Tensor, "m c"] = field(repr=False)
    radius: float

    def holds(self, direction: Float[Tensor, " c"]) -> bool:
        """Return whether an image with this direction lies inside."""
        from_learnt, from_others = (float(distances(direction[None], to).min()) for to in (self.learnt, self.others))
        return from_learnt <= max(self.radius, _CLEARLY * from_others)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint stores, by name. Its manifest stores the radius."""
        return {f"{PREFIX}learnt": self.learnt, f"{PREFIX}others": self.others}


def direction_of(embedding: Embedding, *, frame: Frame) -> Float[Tensor, " c"]:
    """Return the mean of the features over the cells that the image reaches, scaled to length 1; float32 on the CPU."""
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
    """Return 1 - cosine between directions, in [0, 2]."""
    return 1 - some @ others.T


def with_domain(weights: bytes, domain: Domain) -> bytes:
    """Add the domain's directions to a checkpoint's safetensors, in float32, under the names `domain.*`."""
    own = {name: values.contiguous() for name, values in domain.tensors().items()}
    return safetensors.torch.save(safetensors.torch.load(weights) | own, metadata={"format": "pt"})
