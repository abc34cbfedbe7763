"""A second look at what is small on a large image."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from backend.masks.crop import Crop
from backend.masks.metrics import boundary_iou, iou
from backend.masks.prompt import Box, Click, Prompt
from backend.sam.closer.refine import crop_worth_taking, refine_mask
from backend.sam.embeddings.embedding import Embedding
from backend.sam.frame import SAM_FRAME
from backend.sam.loading import BaseModel, decoder_of
from backend.sam.predictor import PredictedMask, Predictor, encode


def disc(*, height: int, width: int, y: float, x: float, radius: float) -> np.ndarray:
    return np.hypot(np.arange(height)[:, None] - y, np.arange(width)[None, :] - x) < radius


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 1800),
    width=st.integers(1025, 1800),
    at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    radius=st.floats(1, 300),
)
def test_a_crop_holds_the_whole_mask_and_lies_in_the_image(
    height: int, width: int, at: tuple[float, float], radius: float
) -> None:
    mask = disc(height=height, width=width, y=at[0] * height, x=at[1] * width, radius=radius)

    crop = crop_worth_taking(mask, frame=SAM_FRAME)

    if crop is not None:
        assert 0 <= crop.x0_px < crop.x1_px <= width
        assert 0 <= crop.y0_px < crop.y1_px <= height
        assert crop.cut(mask).sum() == mask.sum()
        assert max(height, width) >= 1.5 * max(crop.x1_px - crop.x0_px, crop.y1_px - crop.y0_px)


def test_a_small_object_on_a_large_image_is_worth_a_crop_with_room_around_it() -> None:
    crop = crop_worth_taking(disc(height=3000, width=4000, y=1500, x=2000, radius=150), frame=SAM_FRAME)

    assert crop is not None
    assert 480 <= crop.x1_px - crop.x0_px <= 800
    assert crop.x0_px <= 2000 - 150 * 1.5
    assert crop.x1_px >= 2000 + 150 * 1.5


def test_a_corrected_mask_mostly_gets_the_same_crop() -> None:
    crops = {
        crop_worth_taking(disc(height=3000, width=4000, y=1500, x=2000, radius=140 + n), frame=SAM_FRAME)
        for n in range(8)
    }

    assert len(crops) <= 2


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((3000, 4000), np.bool_),
        disc(height=768, width=1024, y=300, x=300, radius=20),
        disc(height=3000, width=4000, y=1500, x=2000, radius=1200),
    ],
    ids=["an empty mask", "an image that the canvas holds whole", "an object that fills the image"],
)
def test_what_a_crop_would_not_show_finer_is_not_worth_one(mask: np.ndarray) -> None:
    assert crop_worth_taking(mask, frame=SAM_FRAME) is None


def test_a_prompt_moves_into_the_crop() -> None:
    crop = Crop(100, 200, 400, 600)
    prompt = Prompt(
        clicks=(Click(150.0, 250.0), Click(50.0, 250.0, is_foreground=False), Click(400.0, 600.0, is_foreground=False)),
        box=Box(90.0, 210.0, 300.0, 700.0),
    )

    moved = crop.prompt(prompt)

    assert moved.clicks == (Click(50.0, 50.0), Click(300.0, 400.0, is_foreground=False))
    assert moved.box == Box(0.0, 10.0, 200.0, 400.0)


def test_a_box_beside_the_crop_is_left_out() -> None:
    assert Crop(100, 200, 400, 600).prompt(Prompt(box=Box(0.0, 0.0, 90.0, 900.0))).box is None


def plain(mask: np.ndarray) -> PredictedMask:
    return PredictedMask(mask=mask, score=0.5, low_res_logits=np.zeros((256, 256), np.float32), predicted_iou=0.5)


class Answers:
    """A predictor that answers with one mask of the crop, and remembers the prompt."""

    def __init__(self, mask: np.ndarray) -> None:
        self.mask, self.prompts = mask, []

    def decode(self, embedding: Embedding, prompts: tuple[Prompt, ...]) -> tuple[PredictedMask, ...]:
        self.prompts += prompts
        return (replace(plain(self.mask), score=0.9),)


FIRST = disc(height=1500, width=2000, y=700, x=900, radius=80)
CROP = crop_worth_taking(FIRST, frame=SAM_FRAME)


def seen(crop: Crop) -> Embedding:
    return Embedding(
        features=torch.zeros(1, 1, 1, 1), height_px=crop.y1_px - crop.y0_px, width_px=crop.x1_px - crop.x0_px
    )


def test_what_the_second_pass_finds_is_put_back_where_it_was_seen() -> None:
    truth = disc(height=1500, width=2000, y=702, x=903, radius=76)
    second = Answers(CROP.cut(truth))

    got = refine_mask(
        plain(FIRST), Prompt(box=Box(820.0, 620.0, 980.0, 780.0)), predictor=second, frame=SAM_FRAME, encode_crop=seen
    )

    np.testing.assert_array_equal(got.mask, truth)
    assert got.score == 0.9
    np.testing.assert_array_equal(second.prompts[0].mask, CROP.cut(FIRST))


def test_the_first_mask_stays_where_the_second_pass_finds_something_else() -> None:
    first = plain(FIRST)
    second = Answers(CROP.cut(disc(height=1500, width=2000, y=700, x=900, radius=30)))

    assert (
        refine_mask(
            first, Prompt(box=Box(820.0, 620.0, 980.0, 780.0)), predictor=second, frame=SAM_FRAME, encode_crop=seen
        )
        is first
    )


def test_clicks_alone_are_not_held_to_the_first_mask() -> None:
    other = disc(height=1500, width=2000, y=700, x=900, radius=30)
    second = Answers(CROP.cut(other))

    got = refine_mask(
        plain(FIRST), Prompt(clicks=(Click(900.0, 700.0),)), predictor=second, frame=SAM_FRAME, encode_crop=seen
    )

    np.testing.assert_array_equal(got.mask, other)
    assert second.prompts[0].mask is None


def test_nothing_is_encoded_where_a_crop_is_not_worth_it() -> None:
    first = plain(np.zeros((3000, 4000), np.bool_))

    assert (
        refine_mask(
            first, Prompt(clicks=(Click(1.0, 1.0),)), predictor=Answers(FIRST), frame=SAM_FRAME, encode_crop=pytest.fail
        )
        is first
    )


@pytest.mark.weights
def test_a_coin_on_a_4000_px_picture_gets_a_tighter_edge(mobile_base: BaseModel) -> None:
    from backend.cli.demo.photographs import sample_photographs

    coins = sample_photographs()[0]
    canvas = Image.new("RGB", (4000, 3000), (20, 20, 20))
    with Image.open(__import__("io").BytesIO(coins.png)) as picture:
        canvas.paste(picture.convert("RGB"), (1700, 1200))
    truth = np.zeros((3000, 4000), np.bool_)
    truth[1200 : 1200 + coins.height_px, 1700 : 1700 + coins.width_px] = coins.objects[0].mask
    rows, columns = np.nonzero(truth)
    prompt = Prompt(box=Box(*map(float, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))))
    predictor = Predictor(mobile_base, decoder_of(mobile_base, None), version="mobile-sam")
    (first,) = predictor.decode(encode(mobile_base, canvas), (prompt,))

    def encode_crop(crop: Crop) -> Embedding:
        return encode(mobile_base, canvas.crop((crop.x0_px, crop.y0_px, crop.x1_px, crop.y1_px)))

    got = refine_mask(first, prompt, predictor=predictor, frame=SAM_FRAME, encode_crop=encode_crop)

    assert iou(got.mask, truth) > iou(first.mask, truth)
    assert boundary_iou(got.mask, truth, band=0.002) > boundary_iou(first.mask, truth, band=0.002) + 0.05
