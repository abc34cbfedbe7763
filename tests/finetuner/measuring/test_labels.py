"""Labels of objects, guessed from objects of other images: a wrong label is seen, and a right one is left alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.sam.embeddings.embedding import Embedding
from backend.sam.loading import BaseModel
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample
from finetuner.measuring.labels import describe_objects, guess_labels

SIDE_PX = 64
Seen = Callable[[Sample], Embedding]


def item(left_px: int, label: str | None) -> LabelledMask:
    """A square of 16 px in the upper half of the image."""
    mask = np.zeros((SIDE_PX, SIDE_PX), bool)
    mask[8:24, left_px : left_px + 16] = True
    return LabelledMask.of(mask, label=label)


def image(number: int, *labels: str | None, picture: str = "") -> Sample:
    """Up to three objects side by side: the left looks like a coin, the others like bricks."""
    objects = tuple(item(left_px, label) for left_px, label in zip((4, 26, 46), labels, strict=False))
    return Sample(image_sha256=f"{number:064x}", height_px=SIDE_PX, width_px=SIDE_PX, objects=objects, picture=picture)


@pytest.fixture
def seen(tiny_base: BaseModel) -> Seen:
    """The columns of a coin point one way, those of bricks another; every image is a little different."""
    _, channels, side, _ = tiny_base.image_positions.shape
    kinds = torch.randn(2, channels, generator=torch.Generator().manual_seed(1))

    def look(sample: Sample) -> Embedding:
        noise = torch.Generator().manual_seed(int(sample.image_sha256, 16))
        features = 0.5 * torch.randn(1, channels, side, side, generator=noise)
        coin = torch.arange(side) < side * 20 // SIDE_PX
        features[..., coin] += kinds[0, :, None, None]
        features[..., ~coin] += kinds[1, :, None, None]
        return Embedding(features=features, height_px=SIDE_PX, width_px=SIDE_PX)

    return look


def guesses(samples: Sequence[Sample], seen: Seen, base: BaseModel, *, beside: Sequence[Sample] = ()) -> list[object]:
    """Every object's guess: the other label where it leads by half, True where its own does, else False."""
    found = guess_labels(samples, beside=beside, embedding=seen, frame=base.frame)
    return [None if g is None else g.label if g.lead >= 0.5 else g.lead <= -0.5 for g in found]


def test_an_object_with_another_objects_label_looks_like_its_own_kind(tiny_base: BaseModel, seen: Seen) -> None:
    right = [image(number, "Coin", "Brick", "Brick") for number in range(12)]
    wrong = image(12, "Brick", "Coin", "Brick")
    assert guesses([wrong], seen, tiny_base, beside=right) == ["Coin", "Brick", True]
    assert guesses(right, seen, tiny_base, beside=[*right, wrong]) == [True] * 36


def test_wrong_labels_among_those_that_it_is_compared_with_do_no_harm(tiny_base: BaseModel, seen: Seen) -> None:
    samples = [image(number, "Coin", "Brick", "Brick") for number in range(18)]
    samples += [image(18 + number, "Brick", "Brick", "Coin") for number in range(2)]
    assert guesses(samples, seen, tiny_base) == [True] * 54 + ["Coin", True, "Brick"] * 2


@pytest.mark.parametrize(
    ("beside", "labels"),
    [
        pytest.param([image(n, "Coin", "Coin") for n in range(9)], ("Coin", "Brick"), id="one label on other images"),
        pytest.param(
            [image(n, "Coin", "Brick", picture="same") for n in range(9)], ("Coin", "Brick"), id="one other picture"
        ),
        pytest.param([image(n, "Coin") for n in range(5)], ("Brick",), id="too few objects"),
        pytest.param([image(n, "Coin", "Brick") for n in range(9)], (None, "Clump"), id="no label, and an unknown one"),
    ],
)
def test_what_cannot_be_compared_is_not_guessed(
    beside: list[Sample], labels: tuple[str | None, ...], tiny_base: BaseModel, seen: Seen
) -> None:
    assert guesses([image(99, *labels)], seen, tiny_base, beside=beside) == [None] * len(labels)


def test_an_object_is_not_compared_with_near_duplicates_of_its_image(tiny_base: BaseModel, seen: Seen) -> None:
    """The same wrong label stands on four copies: they would confirm one another."""
    right = [image(number, "Coin", "Brick") for number in range(16)]
    copies = [image(20 + number, "Clump", "Brick", picture="copy") for number in range(4)]
    elsewhere = [image(30 + number, "Brick", "Clump") for number in range(8)]
    (first, _), (alone, _) = (
        guess_labels(some, beside=[*right, *copies, *elsewhere], embedding=seen, frame=tiny_base.frame)
        for some in (copies[:1], [replace(copies[0], picture="")])
    )
    assert first is not None
    assert alone is not None
    assert first.label == "Coin"
    assert first.lead > alone.lead


def test_an_object_is_described_by_its_inside_and_by_a_ring_around_it(tiny_base: BaseModel, seen: Seen) -> None:
    sample = image(1, "Coin", "Brick")
    (coin, brick) = describe_objects(sample, seen(sample), frame=tiny_base.frame)
    channels = tiny_base.image_positions.shape[1]
    assert coin.shape == (2 * channels,)
    assert np.allclose(brick[:channels], brick[channels:], atol=0.3), "all around it is brick"
    apart = np.abs(coin[:channels] - brick[:channels])
    assert (np.abs(coin[channels:] - coin[:channels]) > 0.1 * apart)[apart > 1].all(), "its ring is coin and brick"
