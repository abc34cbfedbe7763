"""Guesses which label an object looks like, by the objects of other images: masks alone do not show a wrong label.

An object is described by the encoder's features inside its mask and in a ring around it. A logistic regression learns
the labels from the objects of other images, never from the same image or a near-duplicate. How far it can be believed
shows on all objects together: a temperature (Guo et al., "On Calibration of Modern Neural Networks", 2017), fitted
beside a share of wrong labels. Where labels look alike, no guess leads by much. tests/benchmarks/wrong_labels.py plants
wrong labels and measures how many are found.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import optimize
from torch import Tensor
from torch.nn import functional

from backend.registry.review_file import LabelGuess
from backend.sam.frame import Frame
from backend.sam.predictor import Embedding
from finetuner.data.objects import grid_coverage
from finetuner.data.sample import Sample

LEAST_OBJECTS, LEAST_IMAGES = 6, 2  # of a label, on other images
_MOST_BESIDE = 400  # images to compare with
_FOLDS = 10
_RING_CELLS = 2
_DIMENSIONS, _OBJECTS_A_DIMENSION = 64, 4  # of the space of principal components
_PENALTY = 1.0  # of the weights' squares
_TEMPERATURES = np.geomspace(0.5, 30, 25)
_WRONG_SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2)
_TINY = 1e-6


def guess_labels(
    samples: Sequence[Sample],
    *,
    beside: Sequence[Sample],
    embedding: Callable[[Sample], Embedding],
    frame: Frame,
) -> tuple[LabelGuess | None, ...]:
    """Return for every object of these images which other label it looks most like, and how surely.

    Args:
        samples: the images.
        beside: more images to compare with; those that are among `samples` do not count twice.
        embedding: returns an image's embedding.
        frame: of the encoder behind the embeddings.

    Returns:
        The guesses in the order of the samples and their objects. None for an object without a label, and where its
        own label, or every other label, has too few objects on other images.
    """
    judged = set(samples)
    images = [*samples, *[sample for sample in beside if sample not in judged][:_MOST_BESIDE]]
    labels = [item.label for sample in images for item in sample.objects]
    names = sorted({label for label in labels if label is not None})
    count = sum(len(sample.objects) for sample in samples)
    if len(names) < 2:
        return (None,) * count
    features = np.concatenate([describe_objects(sample, embedding(sample), frame=frame) for sample in images])
    groups = np.array([sample.picture or sample.image_sha256 for sample in images for _ in sample.objects])
    numbers = np.array([-1 if label is None else names.index(label) for label in labels])
    scores = _score_all(features, numbers, groups, count=len(names))
    places = np.arange(len(numbers))
    fair = (numbers >= 0) & np.isfinite(scores[places, numbers])
    if not fair.any():
        return (None,) * count
    likely, own = _calibrate(scores[fair], numbers[fair]), np.eye(len(names), dtype=bool)[numbers[fair]]
    leads = np.where(own, -1, likely).max(1) - likely[own]
    others = np.where(own, -1, likely).argmax(1)
    guesses = {
        int(place): LabelGuess(label=names[other], lead=float(lead))
        for place, other, lead in zip(np.flatnonzero(fair), others, leads, strict=True)
    }
    return tuple(guesses.get(place) for place in range(count))


def describe_objects(sample: Sample, embedding: Embedding, *, frame: Frame) -> Float[np.ndarray, "objects c"]:
    """Return the mean features of every object and of the ring around it, side by side; float32."""
    features = embedding.features[0].float().cpu()
    side = features.shape[-1]
    weights = torch.zeros(len(sample.objects) + 1, frame.grid, frame.grid)
    rows, columns = frame.grid_reached(sample.height_px, sample.width_px)
    weights[-1, :rows, :columns] = 1
    for number, item in enumerate(sample.objects):
        weights[number, :rows, :columns] = torch.from_numpy(grid_coverage(item, frame=frame))
    pooled = functional.adaptive_avg_pool2d(weights, side)
    inside, reached = pooled[:-1], pooled[-1]
    near = functional.max_pool2d(inside[:, None], 2 * _RING_CELLS + 1, stride=1, padding=_RING_CELLS)[:, 0]
    ring = (near - inside) * reached
    means = [_mean_under(part, features) for part in (inside, ring)]
    return torch.cat(means, dim=1).numpy()


def _mean_under(weights: Float[Tensor, "n side side"], features: Float[Tensor, "c side side"]) -> Float[Tensor, "n c"]:
    flat = weights.flatten(1)
    return flat @ features.flatten(1).T / flat.sum(1, keepdim=True).clamp_min(_TINY)


def _score_all(
    features: Float[np.ndarray, "n c"], numbers: Int[np.ndarray, " n"], groups: np.ndarray, *, count: int
) -> Float[np.ndarray, "n labels"]:
    """Return the logarithms of every label's probability, by the other images; -inf where a label is not known there.

    Rows of -1 in `numbers` have no label. `groups` names the image of every row.
    """
    scores = np.full((len(numbers), count), -np.inf)
    folds = np.unique(groups)
    for fold in range(min(_FOLDS, len(folds))):
        held_out = np.isin(groups, folds[fold::_FOLDS])
        known = _find_known(numbers, groups, among=~held_out)
        if len(known) < 2:
            continue
        learnt = ~held_out & np.isin(numbers, known)
        which = np.searchsorted(known, numbers[learnt])
        scores[np.ix_(held_out, known)] = _classify(features[learnt], which, features[held_out])
    return scores


def _find_known(
    numbers: Int[np.ndarray, " n"], groups: np.ndarray, *, among: Bool[np.ndarray, " n"]
) -> Int[np.ndarray, " known"]:
    """Return the labels that have enough objects among these, on enough images."""
    present = np.unique(numbers[among & (numbers >= 0)])
    own = [among & (numbers == number) for number in present]
    enough = [rows.sum() >= LEAST_OBJECTS and len(np.unique(groups[rows])) >= LEAST_IMAGES for rows in own]
    return np.asarray(present[np.array(enough, bool)])


def _classify(
    learnt: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], asked: Float[np.ndarray, "m c"]
) -> Float[np.ndarray, "m labels"]:
    """Return the logarithms of the probabilities of the labels, numbered from 0, for every asked object."""
    middle, spread = learnt.mean(0), (learnt.std(0) + _TINY) * np.sqrt(learnt.shape[1])
    _, _, axes = np.linalg.svd((learnt - middle) / spread, full_matrices=False)
    axes = axes[: max(1, min(_DIMENSIONS, len(learnt) // _OBJECTS_A_DIMENSION))]
    points, others = ((rows - middle) / spread @ axes.T for rows in (learnt, asked))
    true = np.eye(labels.max() + 1)[labels]
    shape = (len(axes) + 1, true.shape[1])

    def measure_loss(flat: Float[np.ndarray, " parameters"]) -> tuple[float, Float[np.ndarray, " parameters"]]:
        weights, bias = np.split(flat.reshape(shape), [-1])
        logs = _log_softmax(points @ weights + bias)
        error = np.exp(logs) - true
        slope = np.concatenate([points.T @ error + _PENALTY * weights, error.sum(0, keepdims=True)])
        return float(_PENALTY / 2 * (weights**2).sum() - (logs * true).sum()), slope.ravel()

    best = optimize.minimize(
        measure_loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 100}
    )
    weights, bias = np.split(best.x.reshape(shape), [-1])
    return _log_softmax(others @ weights + bias)


def _calibrate(scores: Float[np.ndarray, "n labels"], numbers: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n labels"]:
    """Return probabilities that are as sure as the labels bear out, of which a share may be wrong."""
    known = np.isfinite(scores).sum(1)

    def believe(temperature: float) -> Float[np.ndarray, "n labels"]:
        return np.asarray(np.exp(_log_softmax(scores / temperature)))

    def measure_loss(temperature: float, wrong: float) -> float:
        own = believe(temperature)[np.arange(len(numbers)), numbers]
        return float(-np.log((1 - wrong) * own + wrong / known + _TINY).mean())

    tried = [(temperature, wrong) for temperature in _TEMPERATURES for wrong in _WRONG_SHARES]
    return believe(min(tried, key=lambda pair: measure_loss(*pair))[0])


def _log_softmax(scores: Float[np.ndarray, "n labels"]) -> Float[np.ndarray, "n labels"]:
    above = scores - scores.max(1, keepdims=True)
    return np.asarray(above - np.log(np.exp(above).sum(1, keepdims=True)))
