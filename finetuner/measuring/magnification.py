"""Chooses whether a project's clicks and boxes are answered in magnified tiles, by decodes of its own annotations.

The base is measured, before any training: a trained model knows these whole images by heart, but not their tiles. A
version learns from whole images; learning from tiles as well gained nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from backend.masks.metrics import iou
from backend.masks.prompt import Prompt
from backend.sam.cleaning import Cleaned
from backend.sam.closer.tiles import FINE, SMALL
from backend.sam.predictor import Embedding, Predictor
from finetuner.data.objects import LabelledMask
from finetuner.data.prompting import farthest_inner_point
from finetuner.data.sample import Sample

_LEAST_SHARE = 0.25  # of small objects among all: for fewer, an image's further encodings are not worth their time
_MOST_IMAGES, _MOST_OBJECTS = 16, 12  # small objects per image: with six tiles an image, 45 seconds on two cores
_LEAST_IMAGES = 2


def choose_magnification(
    plain: Predictor, samples: Sequence[Sample], *, embedding: Callable[[Sample], Embedding], specks_px: int = 0
) -> float | None:
    """Return the magnification in which the base answers these images' small objects better (`tiles.SMALL`).

    Args:
        plain: a predictor that serves the base.
        samples: images with objects to choose on, never held-out ones.
        embedding: returns a sample's embedding by the base's encoder, which encodes tiles.
        specks_px: islands and holes with fewer image px are removed from masks before measuring.

    Returns:
        `tiles.FINE` if clicks and true boxes together gain IoU, averaged over images; None if they do not, if small
        objects are less than a quarter of all, or if fewer than two images have some.
    """
    small = {sample: [item for item in sample.objects if _is_small(item)] for sample in samples}
    count, of = sum(map(len, small.values())), sum(len(sample.objects) for sample in samples)
    # In the order of digests, which does not depend on the kind of image.
    some = sorted((sample for sample in samples if small[sample]), key=lambda sample: sample.image_sha256)
    if len(some) < _LEAST_IMAGES or count < _LEAST_SHARE * of:
        return None
    gains = [
        _gain(plain, small[sample][:_MOST_OBJECTS], embedding(sample), specks_px=specks_px)
        for sample in some[:_MOST_IMAGES]
    ]
    return FINE if float(np.mean(gains)) > 0 else None


def magnification_sentences(magnification: float | None) -> tuple[str, ...]:
    """Return a verdict's sentence on the tiles in which a version answers; nothing for None."""
    if magnification is None:
        return ()
    sentence = (
        f"it answers small objects in tiles that show them up to {magnification:g} times as large, and was measured "
        "so: the first click in a tile takes one more encoding (SAMLOOP_TILES=off answers in whole images)"
    )
    return (sentence,)


def _is_small(item: LabelledMask) -> bool:
    return max(item.crop_shape) <= SMALL * max(item.height_px, item.width_px)


def _gain(plain: Predictor, objects: Sequence[LabelledMask], embedding: Embedding, *, specks_px: int) -> float:
    """The mean IoU of the objects' clicks and boxes with tiles, over that in the whole image."""
    prompts = [
        prompt for item in objects for prompt in (Prompt(clicks=(farthest_inner_point(item),)), Prompt(box=item.box))
    ]
    truths = [item.mask for item in objects for _ in range(2)]
    in_tiles = replace(plain, magnification=FINE)
    magnified, whole = (
        np.mean([iou(answer.mask, truth) for answer, truth in zip(answers, truths, strict=True)])
        for answers in (Cleaned(model, specks_px).decode(embedding, prompts) for model in (in_tiles, plain))
    )
    return float(magnified - whole)
