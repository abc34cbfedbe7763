"""Measures how reliable predicted IoUs are, and fits the isotonic map that calibrates them."""

import numpy as np
from jaxtyping import Float
from scipy import optimize

from backend.registry.calibration import Calibration
from backend.registry.figures import Believability, Bin

BINS = 10
LEAST_PREDICTIONS = 20  # fewer say nothing about any part of the range

Values = Float[np.ndarray, " n"]


def fit(predicted_iou: Values, true_iou: Values) -> Calibration | None:
    """Fit an isotonic regression of the true IoU on the predicted one, by pool-adjacent-violators.

    Each pool of predictions becomes one point, at its mean prediction and its mean IoU. The map is linear between the
    points: it has no jump between pools, and different predictions seldom get the same score.

    Args:
        predicted_iou: (n,) of the decoder.
        true_iou: (n,) in [0, 1].

    Returns:
        The calibration; None for fewer than LEAST_PREDICTIONS finite pairs.
    """
    usable = np.isfinite(predicted_iou) & np.isfinite(true_iou)
    if np.count_nonzero(usable) < LEAST_PREDICTIONS:
        return None
    order = np.argsort(predicted_iou[usable], kind="stable")
    x, y = predicted_iou[usable][order], true_iou[usable][order]
    values, first = np.unique(x, return_index=True)
    count = np.diff([*first, len(x)]).astype(np.float64)
    means = np.add.reduceat(y, first) / count
    pooled = optimize.isotonic_regression(means, weights=count)
    starts = pooled.blocks[:-1]
    middles = np.add.reduceat(values * count, starts) / np.add.reduceat(count, starts)
    expected = np.clip(pooled.x[starts], 0.0, 1.0)
    return Calibration(tuple(middles.tolist()), tuple(expected.tolist()))


def believability(score: Values, true_iou: Values) -> Believability:
    """Measure how far scores are from the masks' true IoU.

    Args:
        score: (n,); clamped to [0, 1].
        true_iou: (n,) in [0, 1].

    Returns:
        `ece` is the expected calibration error in [0, 1]: the distance between a bin's mean score and its mean IoU,
        averaged over ten bins of equal width and weighted by their counts (Guo et al. 2017). `correlation` and
        `rank_correlation` are Pearson's and Spearman's, None if a side is constant. `bins` has the bins that are not
        empty. Pairs that are not finite are ignored.
    """
    usable = np.isfinite(score) & np.isfinite(true_iou)
    score, true_iou = np.clip(score[usable], 0.0, 1.0), true_iou[usable]
    places = np.minimum((score * BINS).astype(np.int64), BINS - 1)
    bins = tuple(
        Bin(int(inside.sum()), float(score[inside].mean()), float(true_iou[inside].mean()))
        for inside in (places == place for place in np.unique(places))
    )
    return Believability(
        n=len(score),
        ece=sum(bin_.predictions * abs(bin_.mean_score - bin_.mean_iou) for bin_ in bins) / len(score)
        if bins
        else None,
        correlation=_pearson(score, true_iou),
        rank_correlation=_pearson(_ranks(score), _ranks(true_iou)),
        bins=bins,
    )


def _pearson(a: Values, b: Values) -> float | None:
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: Values) -> Values:
    """Ranks from 1; equal values share their mean rank."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[place], np.float64)
