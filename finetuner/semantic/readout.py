"""Solves for the semantic head's readout: the linear map of an embedding that tells the labels apart.

This is a ridge regression of the label of every object cell on the embedding around it. From a few dozen images it
generalises where gradients through a transformer of four million weights overfit (`tests/benchmarks/synthetic.py`
measures it).
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from backend.sam.predictor import Embedding
from backend.sam.semantic.head import SemanticHead, measure_reach
from finetuner.data.sample import Sample
from finetuner.semantic.targets import Target

_RIDGE = 0.03  # share of a feature's variance
_LOGITS = 8.0  # the logit difference between a label and the others where the regression is certain
_MOSTLY = 0.5  # the share of a cell above which it belongs to an object


def begin_readout(
    head: SemanticHead,
    samples: Sequence[Sample],
    *,
    embedding: Callable[[Sample], Embedding],
    target: Callable[[int], Target],
) -> None:
    """Write the solution into a new head; with a single label, leave the head unchanged.

    Every label of an image has the same weight, whatever its area. Unknown cells and the background do not count.

    Args:
        head: a new head for the samples' labels.
        samples: at least one image.
        embedding: returns a sample's embedding.
        target: returns the target of the sample with this index.
    """
    if len(head.labels) == 1:
        return
    sums = _Sums(head.readout.shape[1], labels=len(head.labels))
    for number, sample in enumerate(samples):
        seen = measure_reach(embedding(sample).features.float().cpu())[0]
        sums.add(seen.flatten(1), _cells(target(number), side=seen.shape[-1]))
    weights, bias = sums.solve()
    with torch.no_grad():
        head.readout[1:] = (_LOGITS * weights).to(head.readout)
        head.offset[1:] += (_LOGITS * bias).to(head.offset)


def _cells(target: Target, *, side: int) -> Float[Tensor, "labels cells"]:
    """The weight of every cell of the embedding for every label; a label's weights sum to 1 in an image."""
    shares = torch.from_numpy(target.shares[1:] * target.known)
    grid = max(shares.shape[1:])
    full = functional.pad(shares, (0, grid - shares.shape[2], 0, grid - shares.shape[1]))
    cells = functional.adaptive_avg_pool2d(full[None], side)[0].flatten(1)
    cells = torch.where(cells > _MOSTLY, cells, 0.0)
    return cells / cells.sum(1, keepdim=True).clamp_min(1e-9)


class _Sums:
    """The sums over cells that the ridge regression needs, in float64; images are added one by one."""

    def __init__(self, features: int, *, labels: int) -> None:
        self._weight = torch.zeros(labels, dtype=torch.float64)
        self._first = torch.zeros(labels, features, dtype=torch.float64)
        self._second = torch.zeros(features, features, dtype=torch.float64)

    def add(self, features: Float[Tensor, "c cells"], weights: Float[Tensor, "labels cells"]) -> None:
        features, weights = features.double(), weights.double()
        self._weight += weights.sum(1)
        self._first += weights @ features.T
        self._second += (features * weights.sum(0)) @ features.T

    def solve(self) -> tuple[Float[Tensor, "labels c"], Float[Tensor, " labels"]]:
        """Weights (labels, c) and biases (labels,); zeros if no cell counted."""
        total = self._weight.sum().clamp_min(1e-9)
        prior, mean = self._weight / total, self._first.sum(0) / total
        spread = self._second / total - torch.outer(mean, mean)
        scale = spread.diagonal().clamp_min(1e-12).sqrt()
        together = (self._first / total - torch.outer(prior, mean)) / scale
        ridged = spread / torch.outer(scale, scale) + _RIDGE * torch.eye(len(mean), dtype=torch.float64)
        weights = torch.linalg.solve(ridged, together.T).T / scale
        return weights, prior - weights @ mean
