"""The policy for one click that a project's annotations choose, against decoding with every policy."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from backend.masks.metrics import iou
from backend.masks.prompt import Prompt
from backend.sam.loading import BaseModel, decoder_of
from backend.sam.policy import ClickPolicy
from backend.sam.predictor import Embedding, Predictor, encode
from finetuner.data.objects import LabelledMask
from finetuner.data.prompting import farthest_inner_point
from finetuner.data.sample import Sample
from finetuner.measuring.click_policy import with_measured_policy

Discs = Callable[..., tuple[Image.Image, list[np.ndarray]]]


@pytest.fixture(scope="module")
def predictor(tiny_base: BaseModel) -> Predictor:
    return Predictor(tiny_base, decoder_of(tiny_base, None), version="tiny")


@pytest.fixture(scope="module")
def embeddings(tiny_base: BaseModel, discs: Discs) -> dict[str, Embedding]:
    return {str(seed): encode(tiny_base, discs(seed)[0]) for seed in range(3)}


def drawn(name: str, masks: list[np.ndarray]) -> Sample:
    height, width = masks[0].shape
    objects = tuple(LabelledMask.of(mask, label="Disc") for mask in masks)
    return Sample(image_sha256=name, height_px=height, width_px=width, objects=objects)


def mean_iou(predictor: Predictor, samples: list[Sample], embeddings: dict[str, Embedding]) -> float:
    """One click's IoU as it is served; every image counts alike."""
    means = []
    for sample in samples:
        clicks = [Prompt(clicks=(farthest_inner_point(item),)) for item in sample.objects]
        answers = predictor.decode(embeddings[sample.image_sha256], clicks)
        means.append(
            np.mean([iou(answer.mask, item.mask) for answer, item in zip(answers, sample.objects, strict=True)])
        )
    return float(np.mean(means))


def _dot(mask: np.ndarray) -> np.ndarray:
    """A pixel in the middle, so that a reading without one has an object to be compared with."""
    dot = np.zeros_like(mask)
    dot[mask.shape[0] // 2, mask.shape[1] // 2] = True
    return dot


def answered(samples: list[Sample], predictor: Predictor, embeddings: dict[str, Embedding]) -> list[Sample]:
    """The same images, with the predictor's answers to a click on every object as the objects."""
    clicks = {
        sample.image_sha256: [Prompt(clicks=(farthest_inner_point(item),)) for item in sample.objects]
        for sample in samples
    }
    return [
        drawn(name, [answer.mask | _dot(answer.mask) for answer in predictor.decode(embeddings[name], prompts)])
        for name, prompts in clicks.items()
    ]


def test_the_policy_of_the_best_masks_is_chosen(
    predictor: Predictor, embeddings: dict[str, Embedding], discs: Discs
) -> None:
    """Once on discs, and once on masks like the readings themselves, which tell the policies apart."""
    of_discs = [drawn(str(seed), discs(seed)[1]) for seed in range(3)]
    chosen = set()
    for wanted in (None, ClickPolicy.ALWAYS_SINGLE, ClickPolicy.ALWAYS_SMALL):
        samples = of_discs
        if wanted is not None:
            samples = answered(of_discs, replace(predictor, click_policy=wanted), embeddings)
        ious = {
            policy: mean_iou(replace(predictor, click_policy=policy), samples, embeddings) for policy in ClickPolicy
        }

        got = with_measured_policy(
            predictor, samples, plain=predictor, embedding=lambda sample: embeddings[sample.image_sha256]
        )

        best = max(ious.values())
        if best - ious[ClickPolicy.BY_CONTEXT] >= 0.005:
            assert ious[got.click_policy] == best
        else:
            assert got.click_policy is ClickPolicy.BY_CONTEXT
        chosen.add(got.click_policy)
    assert len(chosen) > 1, "a test in which every policy draws the same could not fail"


def test_a_decoder_that_knows_the_images_by_heart_is_measured_on_the_way_from_the_base(
    predictor: Predictor, tiny_base: BaseModel, embeddings: dict[str, Embedding], discs: Discs
) -> None:
    trained, before = (_move(tiny_base, by=by) for by in (1.0, 0.75))
    of_discs = [drawn(str(seed), discs(seed)[1]) for seed in range(3)]
    samples = answered(of_discs, replace(before, click_policy=ClickPolicy.ALWAYS_SMALL), embeddings)

    def choose(*, plain: Predictor) -> ClickPolicy:
        got = with_measured_policy(
            trained, samples, plain=plain, embedding=lambda sample: embeddings[sample.image_sha256]
        )
        assert got.decoder is trained.decoder
        return got.click_policy

    assert choose(plain=predictor) is ClickPolicy.ALWAYS_SMALL
    assert choose(plain=trained) is not ClickPolicy.ALWAYS_SMALL


def _move(base: BaseModel, *, by: float) -> Predictor:
    """The base with a decoder as far from its own as `by` says; the same way every time."""
    decoder, drawing = decoder_of(base, None), torch.Generator().manual_seed(7)  # of which the readings differ
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.add_(by * 0.3 * torch.randn(weight.shape, generator=drawing))
    return Predictor(base, decoder, version="moved")


def test_one_image_chooses_nothing(predictor: Predictor, embeddings: dict[str, Embedding], discs: Discs) -> None:
    by_score = replace(predictor, click_policy=ClickPolicy.BY_SCORE)

    got = with_measured_policy(
        by_score,
        [drawn("0", discs(0)[1])],
        plain=predictor,
        embedding=lambda sample: embeddings[sample.image_sha256],
    )

    assert got.click_policy is ClickPolicy.BY_CONTEXT
