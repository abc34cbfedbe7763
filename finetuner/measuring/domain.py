"""Which images a project's decoder answers: those like the ones that it has learnt from. The base answers the others.

A project's own images must never fall out of it, so the border is drawn from how far they lie from one another, and an
image beyond it still has to look more like an everyday photograph than like the project (sam.embeddings.domain).
Measured with mobile-sam, after trainings on half of a set: no image of the other half fell out, whether the set was of
nuclei, ultrasound, polyps, tiles or blood cells, nor did any of 40 further images of nuclei; of 59 photographs of COCO
from 51 to all did (docs/results.md).
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
from finetuner.data.generic import everyday_directions
from finetuner.data.sample import Sample

log = logging.getLogger(__name__)

_LEAST_IMAGES = 4  # fewer do not tell how much a project's images differ
_ROOM = 1.5  # by the farthest that an image lies from all others that were learnt from


def with_outside(
    predictor: Predictor,
    samples: Sequence[Sample],
    *,
    plain: Predictor,
    embedding: Callable[[Sample], Embedding],
    folder: Path | None,
) -> Predictor:
    """Let the base answer images that look unlike all that was learnt from.

    Args:
        predictor: what has learnt.
        samples: what it has learnt from.
        plain: the base as it is served.
        embedding: of an image, by the base's encoder.
        folder: where directions of everyday photographs are kept; None: nowhere, and the predictor stays as it is.

    Returns:
        The predictor with its domain. As it was given, so that it answers all images, where its encoder has an adapter
        (the base would need an embedding of its own), where it has learnt from fewer than four images, or where
        scikit-image, which carries the photographs, is not installed.
    """
    images = {sample.image_sha256: sample for sample in samples}
    if folder is None or predictor.base is not plain.base or len(images) < _LEAST_IMAGES:
        return predictor
    try:
        others = everyday_directions(plain.base, folder=folder)
    except (Unavailable, OSError) as fault:
        log.warning("the trained decoder answers all images: %s", fault, extra={"event": "domain.failed"})
        return predictor
    # In the order of digests, which is that of no kind of image.
    some = [images[digest] for digest in sorted(images)[:MOST_DIRECTIONS]]
    frame = plain.base.frame
    learnt = torch.stack([direction_of(embedding(sample), frame=frame) for sample in some])
    domain = Domain(learnt=learnt, others=others, radius=_radius(learnt))
    return replace(predictor, outside=Outside(domain, plain))


def count_outside(predictor: Predictor, samples: Sequence[Sample], *, embedding: Callable[[Sample], Embedding]) -> int:
    """How many of these images the base answers in the predictor's place; `embedding` by the base's encoder."""
    if predictor.outside is None:
        return 0
    images = {sample.image_sha256: sample for sample in samples}.values()
    directions = (direction_of(embedding(sample), frame=predictor.base.frame) for sample in images)
    return sum(not predictor.outside.domain.holds(direction) for direction in directions)


def outside_sentences(count: int, *, of: int) -> tuple[str, ...]:
    """What a verdict says of `count` held-out images among `of` that the base answers; nothing where there is none."""
    if not count:
        return ()
    sentence = (
        f"the base answers {count} of {of} held-out images, which look unlike all that was learnt from "
        "(SAMLOOP_OUTSIDE=trained lets the trained decoder answer them)"
    )
    return (sentence,)


def _radius(learnt: Float[Tensor, "n c"]) -> float:
    """How far from the nearest image that was learnt from another may lie, as far as those tell."""
    apart = distances(learnt, learnt)
    nearest = apart.fill_diagonal_(torch.inf).amin(1)
    return min(2.0, _ROOM * max(0.0, float(nearest.max())))
