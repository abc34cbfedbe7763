"""Decides which images a project's decoder answers: those like the images learnt from. The base answers the others.

A project's own images must never fall outside. So the border depends on how far they lie from one another, and an image
beyond it must also look clearly more like an everyday photograph than like the project (sam.embeddings.domain). The
tenth of the images that are most unlike the rest do not move the border, or a third of all photographs would pass for
solar panels. docs/results.md has how many images fall outside, for sets of several kinds.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from backend.errors import Unavailable
from backend.registry.metrics import MOST_DIRECTIONS
from backend.sam.embeddings.domain import Domain, direction_of, distances
from backend.sam.predictor import Embedding, Outside, Predictor
from finetuner.data.sample import Sample
from finetuner.measuring.everyday import everyday_directions

log = logging.getLogger(__name__)

_LEAST_IMAGES = 4  # fewer images do not show how much a project's images differ
_NEAR = 0.9  # the share of the learnt images whose nearest neighbour lies within the radius


def with_outside(
    predictor: Predictor,
    samples: Sequence[Sample],
    *,
    plain: Predictor,
    embedding: Callable[[Sample], Embedding],
    folder: Path | None,
) -> Predictor:
    """Let the base answer images that look unlike all images learnt from.

    Args:
        predictor: the trained model.
        samples: the samples that it has learnt from.
        plain: a predictor that serves the base.
        embedding: returns a sample's embedding by the predictor's encoder.
        folder: caches what the base's encoder sees in everyday photographs; None leaves the predictor as it is.

    Returns:
        The predictor with its domain. Without a domain, so that it answers all images, if it has learnt from fewer than
        four images, or if scikit-image, which contains some of the photographs, is not installed.
    """
    images = {sample.image_sha256: sample for sample in samples}
    if folder is None or len(images) < _LEAST_IMAGES:
        return predictor
    is_adapted = predictor.base.encoder_fingerprint != plain.base.encoder_fingerprint
    try:
        others = everyday_directions(predictor.base, folder=None if is_adapted else folder)
    except (Unavailable, OSError) as fault:
        log.warning("the trained decoder answers all images: %s", fault, extra={"event": "domain.failed"})
        return predictor
    # In the order of digests, which does not depend on the kind of image.
    some = [images[digest] for digest in sorted(images)[:MOST_DIRECTIONS]]
    frame = predictor.base.frame
    learnt = torch.stack([direction_of(embedding(sample), frame=frame) for sample in some])
    domain = Domain(learnt=learnt, others=others, radius=_radius(learnt))
    return replace(predictor, outside=Outside(domain, plain))


def count_outside(predictor: Predictor, samples: Sequence[Sample], *, embedding: Callable[[Sample], Embedding]) -> int:
    """Return how many of these images the base answers instead of the predictor.

    Args:
        predictor: the trained model.
        samples: the images; an image of several samples counts once.
        embedding: returns a sample's embedding by the predictor's encoder.
    """
    if predictor.outside is None:
        return 0
    images = {sample.image_sha256: sample for sample in samples}.values()
    directions = (direction_of(embedding(sample), frame=predictor.base.frame) for sample in images)
    return sum(not predictor.outside.domain.holds(direction) for direction in directions)


def outside_sentences(count: int, *, of: int) -> tuple[str, ...]:
    """Return a verdict's sentence on the `count` of `of` held-out images that the base answers; nothing for 0."""
    if not count:
        return ()
    sentence = (
        f"the base answers {count} of {of} held-out images, which look unlike the images that the version learnt from "
        "(SAMLOOP_OUTSIDE=trained lets the trained decoder answer them)"
    )
    return (sentence,)


def _radius(learnt: Float[Tensor, "n c"]) -> float:
    """Return how far an image of the project may lie from the nearest learnt image."""
    apart = distances(learnt, learnt)
    nearest = apart.fill_diagonal_(torch.inf).amin(1)
    return max(0.0, float(nearest.quantile(_NEAR, interpolation="higher")))
