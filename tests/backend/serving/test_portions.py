"""Many prompts on one image: a few at a time, or not at all."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.errors import TooMuch
from backend.masks.crop import Crop
from backend.masks.prompt import Box, Prompt
from backend.sam.embeddings.embedding import Embedding
from backend.sam.loading import BaseModel
from backend.sam.predictor import PredictedMask, base_predictor
from backend.serving import portions
from backend.serving.portions import decode_by_portions, decode_closer

BOXES = [Prompt(box=Box(float(number), 0.0, number + 1.0, 1.0)) for number in range(100)]


def embedding_of(*, height_px: int, width_px: int) -> Embedding:
    return Embedding(features=torch.zeros(1, 8, 4, 4), height_px=height_px, width_px=width_px)


class Decoder:
    """Answers each prompt with its box's left side for a score, and notes how many came at a time."""

    def __init__(self) -> None:
        self.portions: list[int] = []

    def __call__(self, embedding: Embedding, prompts: Sequence[Prompt]) -> tuple[PredictedMask, ...]:
        self.portions.append(len(prompts))
        mask, logits = np.zeros((2, 2), bool), np.zeros((4, 4), np.float32)
        sides = [prompt.box.x0_px for prompt in prompts if prompt.box is not None]
        return tuple(PredictedMask(mask=mask, score=x, low_res_logits=logits, predicted_iou=x) for x in sides)


@pytest.mark.parametrize(
    ("height_px", "width_px", "at_once"), [(480, 640, 32), (3000, 4000, 5), (10_000, 10_000, 1)], ids=str
)
def test_the_larger_the_image_the_fewer_prompts_at_a_time_and_all_in_their_order(
    height_px: int, width_px: int, at_once: int
) -> None:
    """Fails without the portions: all masks would be in memory at once."""
    decode = Decoder()
    masks = decode_by_portions(embedding_of(height_px=height_px, width_px=width_px), BOXES, decode=decode)
    assert not decode.portions, "nothing is decoded before it is taken"
    assert [mask.score for mask in masks] == list(range(100))
    assert max(decode.portions) == at_once


def test_more_objects_than_can_be_drawn_in_time_are_refused_before_work_begins() -> None:
    decode, large = Decoder(), embedding_of(height_px=10_000, width_px=10_000)
    with pytest.raises(TooMuch, match="300 objects are too many on an image of 10000x10000 pixels: ask for 200"):
        decode_by_portions(large, BOXES * 3, decode=decode)
    assert decode.portions == []


@pytest.mark.parametrize(("side_px", "times"), [(300, 0), (3000, 1)])
def test_what_many_large_masks_leave_behind_is_given_back_once_all_are_drawn(
    side_px: int, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 boxes on 12 megapixels left the server 340 MiB larger for good."""
    given_back: list[int] = []
    decode = Decoder()
    monkeypatch.setattr(portions, "give_back_memory", lambda: given_back.append(sum(decode.portions)))
    for _ in decode_by_portions(embedding_of(height_px=side_px, width_px=side_px), BOXES, decode=decode):
        assert given_back == []
    assert given_back == [len(BOXES)] * times


def test_a_version_with_a_magnification_decodes_in_crops_and_any_other_as_before(tiny_base: BaseModel) -> None:
    plain, cropped = base_predictor(tiny_base), []

    def encode_crop(crop: Crop) -> Embedding:
        cropped.append(crop)
        return embedding_of(height_px=crop.y1_px - crop.y0_px, width_px=crop.x1_px - crop.x0_px)

    def fill(embedding: Embedding, prompts: Sequence[Prompt]) -> list[PredictedMask]:
        mask = np.zeros((embedding.height_px, embedding.width_px), bool)
        mask[5, 5] = True
        logits = np.zeros((4, 4), np.float32)
        return [PredictedMask(mask=mask, score=1.0, low_res_logits=logits, predicted_iou=1.0) for _ in prompts]

    assert decode_closer(fill, plain, encode_crop=encode_crop) is fill
    decode = decode_closer(fill, replace(plain, magnification=1.5), encode_crop=encode_crop)
    (mask,) = decode(embedding_of(height_px=60, width_px=90), [Prompt(box=Box(70.0, 50.0, 80.0, 55.0))])
    assert cropped == [Crop(30, 20, 90, 60)]
    assert np.argwhere(mask.mask).tolist() == [[25, 35]]
