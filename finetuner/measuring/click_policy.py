"""Chooses which of SAM's masks answers a single click in a project, by decodes of the project's own annotations.

The trained decoder knows these images by heart: there its single mask and its scores are better than on new images, and
would be chosen for that. So a decoder three quarters of the way from the base's to the trained one is measured. After
trainings of mobile-sam on nuclei and on ultrasound images, this decoder ranks the policies on the learnt images as the
trained decoder ranks them on others. Half of the way, it does not on ultrasound images.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from backend.masks.metrics import iou
from backend.masks.prompt import Prompt
from backend.sam.cleaning import clean_mask
from backend.sam.policy import ClickPolicy, consider
from backend.sam.predictor import Embedding, Predictor
from finetuner.data.objects import LabelledMask
from finetuner.data.prompting import farthest_inner_point
from finetuner.data.sample import Sample

_MOST_OBJECTS = 96  # with a decode per object, about three seconds on two cores
_LEAST_IMAGES = 2
_SURE_GAIN = 0.005  # the mean IoU that a policy must gain to replace the default
_WAY = 0.75  # from the base's decoder to the trained one


def with_measured_policy(
    predictor: Predictor,
    samples: Sequence[Sample],
    *,
    plain: Predictor,
    embedding: Callable[[Sample], Embedding],
    specks_px: int = 0,
) -> Predictor:
    """Give the predictor the policy for a single click that is best on these images, measured on the way from the base.

    Args:
        predictor: the trained model; it may have learnt from the samples.
        samples: images with objects to choose the policy on, never held-out ones.
        plain: a predictor that serves the base.
        embedding: returns a sample's embedding by the predictor's encoder.
        specks_px: islands and holes with fewer image px are removed from masks before measuring.

    Returns:
        The predictor with the policy of the highest IoU, averaged over images. It is `ClickPolicy.BY_CONTEXT` if no
        other policy gains at least .005, or if there are fewer than two images.
    """
    if len(samples) < _LEAST_IMAGES:
        return replace(predictor, click_policy=ClickPolicy.BY_CONTEXT)
    measured = _step_back(predictor, plain)
    of_each_image = max(1, _MOST_OBJECTS // len(samples))
    means: dict[ClickPolicy, list[float]] = {policy: [] for policy in ClickPolicy}
    for sample in samples[:_MOST_OBJECTS]:
        ious = _ious(measured, sample.objects[:of_each_image], embedding(sample), specks_px=specks_px)
        for policy in ClickPolicy:
            means[policy].append(ious[policy])
    gains = {policy: float(np.mean(means[policy]) - np.mean(means[ClickPolicy.BY_CONTEXT])) for policy in ClickPolicy}
    best = max(ClickPolicy, key=gains.__getitem__)
    return replace(predictor, click_policy=best if gains[best] >= _SURE_GAIN else ClickPolicy.BY_CONTEXT)


def _step_back(predictor: Predictor, plain: Predictor) -> Predictor:
    """The predictor with a decoder on the way from the base's to its own; its encoder stays."""
    decoder = copy.deepcopy(predictor.decoder)
    with torch.no_grad():
        for weight, first in zip(decoder.parameters(), plain.decoder.parameters(), strict=True):
            weight.lerp_(first, 1 - _WAY)
    return replace(predictor, decoder=decoder)


def _ious(
    predictor: Predictor, objects: Sequence[LabelledMask], embedding: Embedding, *, specks_px: int
) -> dict[ClickPolicy, float]:
    """The mean IoU of one image's objects under every policy; each object is decoded once."""
    rows, columns = predictor.base.frame.grid_reached(embedding.height_px, embedding.width_px)
    clicks = [Prompt(clicks=(farthest_inner_point(item),)) for item in objects]
    values: dict[ClickPolicy, list[float]] = {policy: [] for policy in ClickPolicy}
    readings = [
        (single, small, large) for single, small, large in predictor.candidates(embedding, clicks, which=consider)
    ]
    takes_small = {policy: policy.takes_small(readings, rows=rows, columns=columns) for policy in ClickPolicy}
    for index, (item, prompt, (single, small, _)) in enumerate(zip(objects, clicks, readings, strict=True)):
        answers = (predictor.mask_of(reading, embedding) for reading in (single, small))
        of_single, of_small = (
            iou(clean_mask(answer, specks_px=specks_px, clicks=prompt.clicks).mask, item.mask) for answer in answers
        )
        for policy in ClickPolicy:
            values[policy].append(of_small if takes_small[policy][index] else of_single)
    return {policy: float(np.mean(ious)) for policy, ious in values.items()}
