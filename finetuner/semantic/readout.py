"""The semantic head's readout, solved for in one go: which linear map of an embedding tells the labels apart.

Ridge regression of each object cell's label on what the encoder saw around it. Of a few dozen images it finds what
gradients, through a transformer of four million weights, learn by heart (`tests/benchmarks/synthetic.py` measures it).
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

_RIDGE = 0.03  # of a feature's variance
_LOGITS = 8.0  # between a label and the others where the regression is sure
_MOSTLY = 0.5  # of a cell: from there on it is an object's


def begin_readout(
    head: SemanticHead,
    samples: Sequence[Sample],
    *,
    embedding: Callable[[Sample], Embedding],
    target: Callable[[int], Target],
) -> None:
    """Put the solution into a head that is new. With one label there is nothing to tell apart, and nothing happens.

    Every label of an image counts the same, however large; cells that are not known, and the ground, do not count.

    Args:
        head: of the samples' labels.
        samples: at least one.
        embedding: of a sample.
        target: of the sample of that number.
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
    """How much every cell of the embedding counts for every label; the cells of a label in an image add up to 1."""
    shares = torch.from_numpy(target.shares[1:] * target.known)
    grid = max(shares.shape[1:])
    full = functional.pad(shares, (0, grid - shares.shape[2], 0, grid - shares.shape[1]))
    cells = functional.adaptive_avg_pool2d(full[None], side)[0].flatten(1)
    cells = torch.where(cells > _MOSTLY, cells, 0.0)
    return cells / cells.sum(1, keepdim=True).clamp_min(1e-9)


class _Sums:
    """What ridge regression needs of all cells, image by image; float64."""

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
        """Weights and biases, by label; zeros where no cell counted."""
        total = self._weight.sum().clamp_min(1e-9)
        prior, mean = self._weight / total, self._first.sum(0) / total
        spread = self._second / total - torch.outer(mean, mean)
        scale = spread.diagonal().clamp_min(1e-12).sqrt()
        together = (self._first / total - torch.outer(prior, mean)) / scale
        ridged = spread / torch.outer(scale, scale) + _RIDGE * torch.eye(len(mean), dtype=torch.float64)
        weights = torch.linalg.solve(ridged, together.T).T / scale
        return weights, prior - weights @ mean
